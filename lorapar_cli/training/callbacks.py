"""What happens besides the steps of a training run: metrics, checkpoints, early stops."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from lorapar_cli.errors import Diverged, LearntNothing
from lorapar_cli.events import Advance, Note, Progress
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted
from lorapar_cli.store.checkpoints import mark_complete
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.watching.diverged import diverged_hint
from lorapar_cli.training.watching.figures import is_measured
from lorapar_cli.training.watching.live import LiveFigures, StepClock, course

CLIPPED = "completions/clipped_ratio"
"""Key of TRL's logs: share of a step's completions that reached the maximum length."""

_FLAT = "frac_reward_zero_std"
_MOSTLY = 0.5
# Figures of the trainer that are shown before speed and memory.
_FOREMOST = 2


class StepEnd(TrainerCallback):
    """Stops the clock of the steps before anything is measured at the end of one."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stops the clock; whoever is heard last has it go on."""
        self._clock.stop()


class StageCallback(TrainerCallback):
    """Writes metrics.jsonl, marks complete checkpoints, drives the progress display.

    It is heard after whatever measures, and has the clock of the steps go on.

    Args:
        logs: The run's logs by their names, metrics.jsonl among them; empty in processes that
            write nothing. Others may be added later.
        belongs_to: Digest of the run's settings and inputs, for the marks of checkpoints.
        task: What the progress display calls this training.
        shown: Key of the trainer's logs -> short name in the progress display.
        progress: Where events go.
        wait: Returns when every process has called it.

    Attributes:
        clock: Of the steps, for `StepEnd` to stop.
    """

    def __init__(
        self,
        logs: Mapping[str, StepLog],
        belongs_to: str,
        task: str,
        shown: Mapping[str, str],
        progress: Progress,
        wait: Callable[[], None],
    ) -> None:
        self._task, self._shown, self._progress = task, shown, progress
        self._logs, self._belongs_to, self._wait = logs, belongs_to, wait
        self._live, self.clock = LiveFigures(), StepClock()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Saves at the requested steps, not at those of the run that is resumed."""
        state.compute_steps(args, state.max_steps)
        self.clock.go_on()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ends the run before it saves into a folder that somebody has removed.

        Raises:
            LoraparError: A log is not there any more, or was changed.
        """
        for log in self._logs.values():
            log.require_intact()
        self.clock.go_on()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Appends one line per step; the closing summary of a run is not a step.

        Raises:
            Diverged: The loss is not a finite number.
        """
        logs = logs or {}
        if "train_runtime" in logs:
            return
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise Diverged(
                f"loss is {loss} in step {state.global_step}",
                hint=diverged_hint(str(args.output_dir)),
            )
        self._write(state, logs)
        self.clock.go_on()

    def _write(self, state: TrainerState, logs: Mapping[str, float]) -> None:
        metrics = self._logs.get(Artifact.METRICS)
        if metrics is None:
            return
        # JSON has no nan, which is the gradient norm of a step that a loss scaler skipped.
        written = {key: value for key, value in logs.items() if not _is_nan(value)}
        metrics.append([{"step": state.global_step} | written])
        figures = [f"{name} {logs[key]:.3g}" for key, name in self._shown.items() if key in logs]
        # What was measured besides the steps is told by whoever has measured it.
        if not is_measured(logs):
            first = next(iter(self._shown), "")
            self._progress(
                Advance(
                    self._task,
                    state.global_step,
                    state.max_steps,
                    # What a narrow terminal has no room for is left out from the end.
                    [
                        *figures[:_FOREMOST],
                        *self._live.figures(logs, self.clock.seconds),
                        *figures[_FOREMOST:],
                    ],
                    course=course(state.log_history, first),
                )
            )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Marks the checkpoint once every process has written its part of it."""
        self._wait()
        if state.is_world_process_zero:
            states = {name: log.state() for name, log in self._logs.items()}
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            # A pickle, which nothing reads.
            (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            mark_complete(checkpoint, self._belongs_to, states)
        self.clock.go_on()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class ZeroSpreadMonitor(TrainerCallback):
    """Notices when no group of completions has had a spread in its rewards for many steps.

    Without a spread every advantage is zero: steps are taken, but the adapter does not change.

    Args:
        patience: Consecutive steps.
        stop: Whether the run ends then.
        notes: Where the sentence for a person is added, once.
        progress: Where it is reported at once.
    """

    def __init__(self, patience: int, stop: bool, notes: list[str], progress: Progress) -> None:
        self._patience, self._stop, self._notes = patience, stop, notes
        self._progress = progress
        self._flat = 0
        self._noted = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Counts the steps before a resume, so that it stops where an uninterrupted run does."""
        for entry in state.log_history:
            self._count(entry)
        if self._stop and self._flat >= self._patience:
            self._note(state)
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Notes, once, that no group has had a spread for too long."""
        self._count(logs or {})
        if self._flat < self._patience or self._noted:
            return
        self._note(state)
        if self._stop:
            control.should_training_stop = True

    def _note(self, state: TrainerState) -> None:
        self._noted = True
        self._notes.append(
            f"up to step {state.global_step} no group of completions had a spread in its rewards "
            f"for {counted(self._patience, 'step')}: all were equally good or bad, so nothing was learned; "
            "easier or harder records, more completions per prompt, a higher temperature or other "
            "rewards give a spread"
        )
        self._progress(Note(self._notes[-1]))

    def _count(self, logs: Mapping[str, float]) -> None:
        if _FLAT in logs:
            self._flat = self._flat + 1 if logs[_FLAT] == 1 else 0


class GradientMonitor(TrainerCallback):
    """Counts the steps that had a gradient: weight decay moves elements without any.

    Where no rewards of a group differ, what is left of GRPO's gradient is that of the KL divergence,
    which draws the adapter back to where it started: such a step learns nothing either.
    """

    def __init__(self) -> None:
        self._steps = self._without = self._kl_alone = 0
        self._flat = 0.0
        self._clipped: list[float] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Counts the steps before a resume."""
        for entry in state.log_history:
            self._count(entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Counts one step."""
        self._count(logs or {})

    def _count(self, logs: Mapping[str, float]) -> None:
        # Steps on completions of an earlier step do not log it again.
        self._flat = logs.get(_FLAT, self._flat)
        if "grad_norm" in logs:
            without, flat = logs["grad_norm"] == 0, self._flat == 1
            self._steps += 1
            self._without += without or flat
            self._kl_alone += flat and not without
        if CLIPPED in logs:
            self._clipped.append(logs[CLIPPED])

    def conclude(self, notes: list[str]) -> None:
        """Adds a sentence to `notes` if most steps had no gradient, or that of the KL divergence alone.

        Raises:
            LearntNothing: No step had one.
        """
        if self._steps and self._without == self._steps:
            found = f"{counted(self._steps, 'step')}; if elements moved, weight decay moved them"
            if self._kl_alone:
                found += (
                    f"; {self._kl_alone} of them had the gradient of the KL divergence alone, "
                    "which teaches nothing new"
                )
            hint = (
                "in `train-rl`, rewards have to differ between the completions of a prompt: check "
                "them in completions.jsonl"
            )
            if self._clipped and fmean(self._clipped) > _MOSTLY:
                found += f"; {fmean(self._clipped):.0%} of completions were cut off"
                hint = f"raise `--max-completion-length`; {hint}"
            what = "no step had a gradient" + (" from rewards" if self._kl_alone else "")
            raise LearntNothing(f"training learnt nothing: {what}", found, hint)
        if 2 * self._without > self._steps:
            source = " from rewards" if self._kl_alone else ""
            notes.append(
                f"{self._without} of {counted(self._steps, 'step')} had no gradient{source} and learnt nothing"
            )
