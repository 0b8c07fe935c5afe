"""From options and records to what a stage measures while it trains."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.measuring.probe import MOST_RECORDS, ForgettingProbe, Prompts
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
    *,
    gradable: bool = True,
) -> WatchPlan | None:
    """Returns what to measure, None for nothing.

    Args:
        read: The stage's records.
        gradable: Whether completions have final answers that `eval_match` can judge.

    Raises:
        LoraparError: What is to be best cannot be measured.
    """
    held_out, part = read.held_out, read.validation
    if not options.forgetting and part is None:
        return None
    stage = Stage.TRAIN_RL if isinstance(options, RlOptions) else Stage.TRAIN_SFT
    own = _own_systems(options.data, read.all)
    tokens = options.eval_max_new_tokens or (
        options.max_completion_length if isinstance(options, RlOptions) else _MAX_NEW_TOKENS
    )
    answering = (
        Answering(options.eval_match, tokens, options.eval_batch_size, _MEMORY_HINT)
        if gradable
        else None
    )
    records = [] if held_out is None else _first_of_each(held_out.records, MOST_RECORDS)
    asked = _of(own, records) or _of(own, read.all)
    plan = WatchPlan(
        options,
        stage,
        tokenizer,
        base,
        own,
        _encode(tokenizer, records, base, None) if records and options.forgetting else None,
        {} if held_out is None else {"heldout": held_out.sha256},
        Prompts(
            [system_of(record) for record in asked],
            [encode_prompt(tokenizer, r.prompt, r.tools, r.id) for r in asked],
            tokens,
            options.eval_batch_size,
            options.seed,
            f"{_MEMORY_HINT}, or `--no-forgetting`",
        ),
        None if part is None else _encode(tokenizer, part.records, base, answering),
        "accuracy" if stage is Stage.TRAIN_RL else "loss",
    )
    _require_measure(plan)
    return plan


def _own_systems(data: str, trained: Sequence[Record]) -> list[str]:
    if data in tuple(System):
        return [data]
    return sorted({system_of(record) for record in trained})


def _of(systems: Sequence[str], records: Sequence[Record]) -> list[Record]:
    """Returns the first records of these systems, as many as prompts are needed."""
    return _first_of_each([r for r in records if system_of(r) in systems], MOST_KL_PROMPTS)


def _first_of_each(records: Sequence[Record], most: int) -> list[Record]:
    seen: dict[str, int] = {}
    kept = []
    for record in records:
        system = system_of(record)
        seen[system] = seen.get(system, 0) + 1
        if seen[system] <= most:
            kept.append(record)
    return kept


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
