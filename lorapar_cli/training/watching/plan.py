"""From options and records to what a stage measures while it trains."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.measuring.held_out import HeldOut
from lorapar_cli.models.measuring.probe import (
    MOST_RECORDS,
    ForgettingProbe,
    Prompts,
    first_of_each,
)
from lorapar_cli.models.measuring.records import Answering, RecordSet, encode_set
from lorapar_cli.models.measuring.written import MOST_KL_PROMPTS
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Stage, System
from lorapar_cli.store.records import Record
from lorapar_cli.training.options import RlOptions, TrainingOptions
from lorapar_cli.training.watching.parts import StageRecords
from lorapar_cli.training.watching.records import system_of

_MAX_NEW_TOKENS = 256
_MEMORY_HINT = "give a smaller `--eval-batch-size`"


@dataclass(frozen=True)
class WatchPlan:
    """What a stage measures besides its steps.

    Attributes:
        options: The stage's.
        own: Systems that the stage trains on, `unlabelled` among them for records without one.
        held_out: Records that losses of forgetting are measured on, None for none.
        prompts: Where the distance from the base model is measured.
        validation: The validation part, None for none.
        measure: By which of its figures a step is better than another.
    """

    options: TrainingOptions
    stage: Stage
    tokenizer: PreTrainedTokenizerBase
    base: BaseModel
    own: list[str]
    held_out: RecordSet | None
    sources: dict[str, str]
    prompts: Prompts
    validation: RecordSet | None
    measure: str

    def probe(self, processes: Processes) -> ForgettingProbe | None:
        """Returns what measures forgetting, None where that is turned off."""
        if not self.options.forgetting:
            return None
        return ForgettingProbe(
            self.tokenizer,
            self.base.max_length,
            self.held_out,
            self.prompts,
            self.options.neutral,
            self.sources,
            processes,
        )


def plan_watch(
    options: TrainingOptions,
    tokenizer: PreTrainedTokenizerBase,
    base: BaseModel,
    read: StageRecords,
    notes: list[str],
    *,
    gradable: bool = True,
) -> WatchPlan | None:
    """Returns what to measure, None for nothing.

    Args:
        read: The stage's records.
        notes: Where a sentence is added if held-out records cannot be measured on.
        gradable: Whether completions have final answers that `eval_match` can judge.

    Raises:
        LoraparError: What is to be best cannot be measured.
    """
    part = read.validation
    if not options.forgetting and part is None:
        return None
    stage = Stage.TRAIN_RL if isinstance(options, RlOptions) else Stage.TRAIN_SFT
    own = _own_systems(options.data, read.all)
    answering = Answering(
        options.eval_match, _answer_tokens(options), options.eval_batch_size, _MEMORY_HINT
    )
    measured, records = None, list[Record]()
    if options.forgetting and read.held_out is not None:
        measured, records = _encode_held_out(tokenizer, read.held_out, base, notes)
    asked = _first(records, MOST_KL_PROMPTS, own) or _first(read.all, MOST_KL_PROMPTS, own)
    plan = WatchPlan(
        options,
        stage,
        tokenizer,
        base,
        own,
        measured,
        {} if read.held_out is None else {"heldout": read.held_out.sha256},
        _prompts(tokenizer, asked, options),
        _encode(tokenizer, part.records, base, answering if gradable else None) if part else None,
        "accuracy" if stage is Stage.TRAIN_RL else "loss",
    )
    _require_measure(plan)
    return plan


def _answer_tokens(options: TrainingOptions) -> int:
    if options.eval_max_new_tokens is not None:
        return options.eval_max_new_tokens
    return options.max_completion_length if isinstance(options, RlOptions) else _MAX_NEW_TOKENS


def _encode_held_out(
    tokenizer: PreTrainedTokenizerBase, held_out: HeldOut, base: BaseModel, notes: list[str]
) -> tuple[RecordSet | None, list[Record]]:
    """Returns the records that are measured on, in tokens and as they are; none if none can be."""
    records = _first(held_out.records, MOST_RECORDS)
    try:
        return _encode(tokenizer, records, base, None), records
    except LoraparError as error:
        # The stage itself renders none of them; it need not fail for their sake.
        notes.append(f"forgetting: held-out records are not measured on: {error.what}")
        return None, []


def _prompts(
    tokenizer: PreTrainedTokenizerBase, asked: Sequence[Record], options: TrainingOptions
) -> Prompts:
    """Returns the prompts on which the adapter is compared with the base model."""
    return Prompts(
        [system_of(record) for record in asked],
        [encode_prompt(tokenizer, r.prompt, r.tools, r.id) for r in asked],
        _answer_tokens(options),
        options.eval_batch_size,
        options.seed,
        f"{_MEMORY_HINT}, or `--no-forgetting`",
    )


def _own_systems(data: str, trained: Sequence[Record]) -> list[str]:
    if data in tuple(System):
        return [data]
    return sorted({system_of(record) for record in trained})


def _first(
    records: Sequence[Record], most: int, systems: Sequence[str] | None = None
) -> list[Record]:
    """Returns the first records of each system, or of each of these."""
    named = [system_of(record) for record in records]
    kept = first_of_each(records, named, most)
    return [each for each in kept if systems is None or system_of(each) in systems]


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    base: BaseModel,
    answering: Answering | None,
) -> RecordSet | None:
    """Returns the records in tokens, None where the model has positions for none of them."""
    systems = [system_of(record) for record in records]
    found = encode_set(tokenizer, records, systems, base.max_length, answering)
    return found if found.encoded else None


def _require_measure(plan: WatchPlan) -> None:
    """Refuses to choose a step by a figure that nothing gives."""
    options = plan.options
    if options.eval_steps is None or (options.keep == "last" and options.stop_after is None):
        return
    flag = "--keep best" if options.keep == "best" else f"--stop-after {options.stop_after}"
    found = plan.validation
    judged = [] if found is None else found.systems
    if found is not None and plan.measure == "accuracy":
        judged = [found.systems[n] for n in found.asked]
    if not set(judged) & set(plan.own):
        raise LoraparError(
            f"`{flag}` has no validation {plan.measure} to go by",
            f"no validation record of {', '.join(plan.own)} can be judged",
            "give records with reference answers as `--validation`"
            if plan.measure == "accuracy"
            else "give records of that system as `--validation`",
        )
