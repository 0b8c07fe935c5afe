"""Measures while a stage trains, and leaves the training as it would have been without."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lorapar_cli.errors import Diverged, LoraparError
from lorapar_cli.events import Advance, Note, Progress
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.measuring.probe import at_rest
from lorapar_cli.models.measuring.records import RecordSet
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.forgetting import Forgetting
from lorapar_cli.stage_records.training import StageValidation, ValidationPoint, Watched
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.store.tensor_files import read_tensors, write_tensors
from lorapar_cli.training.masking.active_elements import count_moved
from lorapar_cli.training.masking.engines import Engine
from lorapar_cli.training.masking.masked_adapter import whole_adapter
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.watching.choice import MEASURE, Choice
from lorapar_cli.training.watching.figures import (
    describe_loss_of_ground,
    describe_step,
    forgetting_figures,
    forgetting_of,
    validation_figures,
    validation_of,
)
from lorapar_cli.training.watching.plan import WatchPlan

BEST = "best.safetensors"
"""Adapter of the best step so far, in each checkpoint of a run that keeps it."""


class Watch(TrainerCallback):
    """Measures forgetting and a validation part at the steps that options name.

    Args:
        processes: Each of them does its share; all of them have the same figures.
        progress: Where events go; silent in all processes but one.
        notes: Sentences for the manifest.
    """

    def __init__(
        self, plan: WatchPlan, processes: Processes, progress: Progress, notes: list[str]
    ) -> None:
        self._plan, self._options = plan, plan.options
        self._processes, self._progress, self._notes = processes, progress, notes
        self._probe = plan.probe(processes)
        self._choice = Choice(higher=plan.measure == "accuracy")
        self._best: dict[str, torch.Tensor] = {}
        self._before: Forgetting | None = None
        self._trainer: MaskedTrainer | None = None
        self._checkpoint: Path | None = None

    def begin(self, trainer: MaskedTrainer, checkpoint: Path | None) -> None:
        """Measures the adapter that the stage starts from, and hears of the steps from now on.

        Args:
            checkpoint: What the run resumes from; nothing of it has been loaded yet.
        """
        self._trainer, self._checkpoint = trainer, checkpoint
        if self._probe is not None:
            self._progress(Advance("measuring before training"))
            with at_rest(trainer.masked.model) as model:
                self._probe.write(model)
                self._before = self._probe.measure(model)
        trainer.add_callback(self)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Logs the figures before the first step, or takes up the choice of a resumed run."""
        if state.global_step == 0:
            figures: dict[str, float] = {}
            if self._before is not None and self._options.watch is not None:
                figures |= forgetting_figures(self._before)
            figures |= self._validate(control, state)
            self._log(figures)
            return
        self._choice.restore(state.log_history)
        if self._options.keep == "best" and self._choice.best and self._checkpoint:
            tensors, _ = read_tensors(self._checkpoint / BEST)
            self._best = {name: torch.from_numpy(array) for name, array in tensors.items()}
        if self._is_time_to_stop():
            control.should_training_stop = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measures at the steps that options name, and at the last one."""
        last = state.global_step >= state.max_steps or control.should_training_stop
        figures: dict[str, float] = {}
        due = [every for every in (self._options.watch, self._options.eval_steps) if every]
        if not any(last or state.global_step % every == 0 for every in due):
            return
        with evaluation_point(self._of_trainer()):
            if self._is_due(self._options.eval_steps, state, last):
                figures |= self._validate(control, state)
            last = last or control.should_training_stop
            if self._is_due(self._options.watch, state, last):
                figures |= self._forgetting()
        self._log(figures)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keeps the best adapter in the checkpoint, before that is marked as complete."""
        if self._best and state.is_world_process_zero:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            arrays = {name: tensor.numpy() for name, tensor in self._best.items()}
            write_tensors(checkpoint / BEST, arrays, {"step": self._best_step()})

    def conclude(self, log: StepLog | None) -> Watched:
        """Puts the adapter to publish in its place, measures it, and says what was chosen.

        The trainer has ended and is at the point at which its optimizer is evaluated.

        Args:
            log: metrics.jsonl; None in processes that write nothing.
        """
        trainer = self._of_trainer()
        state, history = trainer.state, trainer.state.log_history
        late: dict[str, float] = {}
        measured = any(_is_validation(e) and e["step"] == state.global_step for e in history)
        if self._options.eval_steps and not measured:
            late = self._validate(trainer.control, state)
            history.append(late | {"step": state.global_step})
        published = state.global_step
        if self._best:
            published = self._best_step()
            _put(trainer, self._best)
        watched: Watched = {}
        if self._before is not None and self._probe is not None:
            after = forgetting_of(history, published)
            if after is None:
                self._progress(Advance("measuring after training"))
                with at_rest(trainer.masked.model) as model:
                    after = self._probe.measure(model)
                if self._options.watch is not None and published == state.global_step:
                    late |= forgetting_figures(after)
            basis = self._probe.basis()
            others = sorted(set(basis["records"]) - set(self._plan.own))
            watched["forgetting"] = {
                "others": others,
                "basis": basis,
                "before": self._before,
                "after": after,
            }
        if log is not None and late:
            log.append([{"step": state.global_step, **late}])
        if self._options.eval_steps:
            watched["validation"] = self._describe_choice(history, published)
        return watched

    def _of_trainer(self) -> MaskedTrainer:
        if self._trainer is None:
            raise AssertionError("nothing trains yet")
        return self._trainer

    def _best_step(self) -> int:
        if self._choice.best is None:
            raise AssertionError("no step has been evaluated")
        return self._choice.best[0]

    def _is_due(self, every: int | None, state: TrainerState, last: bool) -> bool:
        return every is not None and (last or state.global_step % every == 0)

    def _is_time_to_stop(self) -> bool:
        patience = self._options.stop_after
        return patience is not None and self._choice.without >= patience

    def _forgetting(self) -> dict[str, float]:
        if self._probe is None:
            return {}
        with at_rest(self._of_trainer().masked.model) as model:
            return forgetting_figures(self._probe.measure(model))

    def _validate(self, control: TrainerControl, state: TrainerState) -> dict[str, float]:
        """Returns the figures of the validation part; keeps the adapter if it is the best one.

        Raises:
            Diverged: The loss is not a finite number.
        """
        records = self._plan.validation
        if self._options.eval_steps is None or records is None:
            return {}
        masked = self._of_trainer().masked
        with at_rest(masked.model) as model:
            losses = records.losses(model, self._processes)
            answers = records.answers(model, self._processes)
        step = state.global_step
        found = validation_figures(losses, answers)
        if bad := [value for value in found.values() if not math.isfinite(value)]:
            raise Diverged(
                f"the validation loss is {bad[0]} in step {step}", hint="lower `--learning-rate`"
            )
        judged = answers if self._plan.measure == "accuracy" else losses
        own = [value for system in self._plan.own for value in judged.get(system, [])]
        adapter = whole_adapter(masked)
        # An adapter that has not moved yet, as after a step of warm-up, is nothing to publish.
        if not own or not count_moved(masked.start.weights, adapter, masked.start.active)[0]:
            return found
        found[MEASURE] = sum(own) / len(own)
        if self._choice.hear(step, found[MEASURE]) and self._options.keep == "best":
            self._best = {name: values.clone() for name, values in adapter.items()}
        if self._is_time_to_stop():
            control.should_training_stop = control.should_save = True
        return found

    def _log(self, figures: Mapping[str, float]) -> None:
        """Logs figures as the trainer logs those of a step, without what TRL adds to these."""
        if not figures:
            return
        trainer = self._of_trainer()
        # Whoever logs has logged the step, by the library's reckoning: its own line is yet to come.
        pending = trainer.control.should_log
        Trainer.log(trainer, dict(figures))
        trainer.control.should_log = pending
        self._progress(Note(describe_step(trainer.state.global_step, figures)))

    def _describe_choice(
        self, history: Sequence[Mapping[str, Any]], published: int
    ) -> StageValidation:
        records = self._plan.validation
        if records is None:
            raise AssertionError("nothing was validated on")
        last = max(int(entry["step"]) for entry in history if _is_validation(entry))
        best = None if self._choice.best is None else self._choice.best[0]
        steps = {0, last} | ({best} if best is not None else set())
        points: list[ValidationPoint] = [
            validation_of(entry)
            for entry in history
            if _is_validation(entry) and int(entry["step"]) in steps
        ]
        self._note_choice(published)
        worse = describe_loss_of_ground(points, published, self._plan.measure, self._plan.own)
        self._notes += [worse] if worse else []
        return {
            "records": _count(records),
            "every": self._options.eval_steps or 0,
            "measure": self._plan.measure,
            "points": points,
            "best_step": best,
            "published_step": published,
        }

    def _note_choice(self, published: int) -> None:
        if self._choice.best is None:
            return
        step, value = self._choice.best
        figure = f"{value:.1%}" if self._plan.measure == "accuracy" else f"{value:.4f}"
        superlative = "highest" if self._plan.measure == "accuracy" else "lowest"
        last = self._of_trainer().state.global_step
        if self._is_time_to_stop() and last < self._of_trainer().state.max_steps:
            self._notes.append(
                f"stopped at step {last}: none of the last "
                f"{counted(self._choice.without, 'evaluation')} was better than step {step}"
            )
        if self._options.keep == "best":
            self._notes.append(
                f"step {published} of {last} is published: its validation {self._plan.measure} on "
                f"{', '.join(self._plan.own)}, {figure}, is the {superlative} of "
                f"{counted(self._choice.evaluations, 'evaluation')}"
            )
        elif step != last:
            self._notes.append(
                f"step {step} had the {superlative} validation {self._plan.measure} on "
                f"{', '.join(self._plan.own)}, {figure}; the last step, {last}, is published "
                "(`--keep best` publishes the best one)"
            )


def _count(records: RecordSet) -> dict[str, int]:
    return {each: records.systems.count(each) for each in sorted(set(records.systems))}


def _is_validation(entry: Mapping[str, Any]) -> bool:
    return any(key.startswith("validation_loss/") for key in entry)


def _put(trainer: MaskedTrainer, values: Mapping[str, torch.Tensor]) -> None:
    """Writes an adapter into the model."""
    for name, parameter in adapter_parameters(trainer.masked.model).items():
        parameter.data.copy_(values[name])


def open_watch(
    plan: WatchPlan, engine: Engine, processes: Processes, progress: Progress, notes: list[str]
) -> Watch | None:
    """Returns what measures during a run, None where the engine leaves no process a whole model.

    Raises:
        LoraparError: The user has asked for figures that cannot be had there.
    """
    if not engine.divides_parameters:
        return Watch(plan, processes, progress, notes)
    options = plan.options
    if options.watch is not None or options.eval_steps is not None:
        raise LoraparError(
            f"`{'--watch' if options.watch is not None else '--eval-steps'}` cannot measure under "
            f"{engine}",
            "no process holds a whole model",
            "omit it and measure with `lorapar eval`, or launch plain data parallel with `torchrun`",
        )
    notes.append(
        f"forgetting was not measured: under {engine} no process holds a whole model; `lorapar eval` "
        "measures it"
    )
    return None


@contextmanager
def evaluation_point(trainer: MaskedTrainer) -> Iterator[None]:
    """Has the adapter at the point at which its optimizer is evaluated, and puts it back.

    A schedule-free optimizer trains at one point and is evaluated at another. Its way back rounds,
    so the values are kept.
    """
    inner: Any = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    if not hasattr(inner, "eval"):
        yield
        return
    kept = [values.detach().clone() for values in trainer.elements.values]
    trainer.take_evaluation_point()
    try:
        yield
    finally:
        inner.train()
        for values, value in zip(trainer.elements.values, kept, strict=True):
            values.data.copy_(value)
        trainer.elements.scatter()
