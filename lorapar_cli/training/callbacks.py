"""What happens beside the steps of a training run: metrics, checkpoints, early stops."""

import math
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note, Progress
from lorapar_cli.store.checkpoints import mark_complete
from lorapar_cli.store.step_log import StepLog

_FLAT = "frac_reward_zero_std"


class StageCallback(TrainerCallback):
    """Writes metrics.jsonl, marks complete checkpoints, drives the progress display.

    Args:
        log: metrics.jsonl; None in processes that write nothing.
        label: What the progress display calls this training.
        shown: Key of the trainer's logs -> short name in the progress display.
        wait: Returns when every process has called it.
    """

    def __init__(
        self,
        log: StepLog | None,
        label: str,
        shown: dict[str, str],
        progress: Progress,
        wait: Callable[[], None],
    ) -> None:
        self._log, self._label, self._shown, self.progress = log, label, shown, progress
        self._wait = wait

    def on_train_begin(self, args, state, control, **_):
        """Saves at the steps that were asked for, not at those of the run that is resumed."""
        state.compute_steps(args, state.max_steps)

    def on_log(self, args, state, control, logs=None, **_):
        """Appends one line a step; the closing summary of a run is no step."""
        if "train_runtime" in logs:
            return
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise LoraparError(
                f"loss is {loss} in step {state.global_step}",
                hint="lower `--learning-rate`; the last checkpoint is kept, "
                "the same command goes on from it",
            )
        if self._log is None:
            return
        # JSON knows no nan, which the gradient norm of a step is that a loss scaler left out.
        written = {k: v for k, v in logs.items() if not _is_nan(v)}
        self._log.append([{"step": state.global_step} | written])
        figures = [f"{name} {logs[key]:.3g}" for key, name in self._shown.items() if key in logs]
        self.progress(Advance(self._label, state.global_step, state.max_steps, figures))

    def on_save(self, args, state, control, **_):
        """Marks the checkpoint once every process has written its part of it."""
        self._wait()
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _is_nan(value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class ZeroSpreadMonitor(TrainerCallback):
    """Notices when no group of completions has had a spread in its rewards for many steps.

    Without a spread every advantage is zero: the steps go on, the adapter stays.

    Args:
        patience: Steps in a row.
        stop: Whether the run ends then.
        notes: Where the sentence for a person is added, once.
        progress: Where it is said at once.
    """

    def __init__(self, patience: int, stop: bool, notes: list[str], progress: Progress) -> None:
        self._patience, self._stop, self._notes = patience, stop, notes
        self._progress = progress
        self._flat = 0
        self._said = False

    def on_train_begin(self, args, state, control, **_):
        """Counts the steps before a resume, so that it stops where a straight run does."""
        for entry in state.log_history:
            self._count(entry)
        if self._stop and self._flat >= self._patience:
            self._say(state)
            control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **_):
        """Says, once, that no group has had a spread for too long."""
        self._count(logs)
        if self._flat < self._patience or self._said:
            return
        self._say(state)
        if self._stop:
            control.should_training_stop = True

    def _say(self, state) -> None:
        self._said = True
        self._notes.append(
            f"up to step {state.global_step} no group of completions had a spread in its rewards "
            f"for {self._patience} steps: all were equally good or bad, so that nothing was "
            "learnt; easier or harder records, more completions a prompt, a higher temperature "
            "or other rewards give a spread"
        )
        self._progress(Note(self._notes[-1]))

    def _count(self, logs: dict[str, float]) -> None:
        if _FLAT in logs:
            self._flat = self._flat + 1 if logs[_FLAT] == 1 else 0
