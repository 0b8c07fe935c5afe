"""Prompts filtered by how often the model that starts the stage passes them.

Source: arXiv 2504.03380 (filtering by difficulty before RL). Differs: rates are sampled once, from
the starting model, not again while it learns.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.generation import Decoding
from lorapar_cli.models.rendering.tokenization import encode_prompt, in_blocks, trainer_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.training import PassFilter
from lorapar_cli.store.journal import digest_of
from lorapar_cli.store.records import Record, write_jsonl
from lorapar_cli.training.jobs import Preparation
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.recipes.judges import find_judges
from lorapar_cli.training.recipes.sampling import Questions, Sampled, sample_once
from lorapar_cli.training.rewards.load import WeightedRewards, call_reward


def filter_by_pass_rate(
    preparation: Preparation,
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    rewards: WeightedRewards,
    options: RlOptions,
) -> tuple[list[Record], PassFilter]:
    """Returns the records whose pass rate is within the limits, and what finding out took.

    The rate of every record is written to `pass-rates.jsonl`.

    Raises:
        LoraparError: No record is within the limits, or a reward failed.
    """
    judge = _Judge(tokenizer, records, find_judges(rewards))
    limit = preparation.job.base.max_length
    questions = Questions(
        name="pass-rates",
        task="sampling pass rates",
        prompts=[encode_prompt(tokenizer, record.prompt) for record in records],
        decoding=Decoding(options.max_completion_length, options.temperature),
        room=limit,
        draws=options.pass_samples,
        batch_size=options.sample_batch_size,
        seed=options.seed,
        adapter=True,
        judge=judge.passes,
        depends_on=digest_of(
            [
                [(record.id, record.accepted_answers) for record in records],
                [options.rewards, options.code_packages, options.code_timeout, options.code_memory],
            ]
        ),
    )
    _require_room(records, questions.prompts, limit)
    sampled = sample_once(preparation, tokenizer, questions)
    passed = [sum(answer["passed"] for answer in own) for own in sampled.answers]
    rates = [number / options.pass_samples for number in passed]
    low, high = options.min_pass or 0.0, 1.0 if options.max_pass is None else options.max_pass
    kept = [r for r, rate in zip(records, rates, strict=True) if low <= rate <= high]
    figures = _describe(sampled, rates, low, high, len(kept))
    if preparation.launch.processes.rank == 0:
        lines = [
            {
                "id": record.id,
                "passed": number,
                "samples": options.pass_samples,
                "rate": rate,
                "kept": low <= rate <= high,
            }
            for record, number, rate in zip(records, passed, rates, strict=True)
        ]
        write_jsonl(preparation.work / Artifact.PASS_RATES, lines)
    _report(figures, low, high, preparation.job.manifest.notes)
    return kept, figures


def reward_columns(tokenizer: PreTrainedTokenizerBase, records: list[Record]) -> dict[str, Any]:
    """Returns what a reward may ask for besides completions and references, as TRL passes it."""
    return {
        "prompts": [trainer_prompt(tokenizer, record.prompt) for record in records],
        "record_id": [record.id for record in records],
        "reference_answers": [record.accepted_answers for record in records],
        "in_block": in_blocks(tokenizer, records),
    }


@dataclass(frozen=True)
class _Judge:
    """Says which completions pass: those that every judging reward values above 0."""

    tokenizer: PreTrainedTokenizerBase
    records: list[Record]
    judges: WeightedRewards

    def passes(
        self, indices: list[int], completions: list[str], finished: list[bool]
    ) -> list[bool]:
        """Returns whether each completion passes.

        Args:
            indices: Of each completion's record.
            finished: Whether each completion ended by itself.

        Raises:
            LoraparError: A reward failed.
        """
        records = [self.records[index] for index in indices]
        columns = reward_columns(self.tokenizer, records)
        references = [record.reference_answer for record in records]
        values = [
            call_reward(name, reward, completions, references, columns, finished)
            for name, (reward, _) in self.judges.items()
        ]
        return [all(value > 0 for value in row) for row in zip(*values, strict=True)]


def _require_room(records: list[Record], prompts: list[list[int]], limit: int | None) -> None:
    """Refuses prompts that leave the model no position for a completion.

    Raises:
        LoraparError: Names the first.
    """
    for record, prompt in zip(records, prompts, strict=True):
        if limit is not None and len(prompt) >= limit:
            raise LoraparError(
                f"the prompt of `{record.id}` leaves no room for a completion",
                f"{counted(len(prompt), 'token')}, the model has {counted(limit, 'position')}",
                "lower `--max-prompt-length`",
            )


def _describe(
    sampled: Sampled, rates: list[float], low: float, high: float, kept: int
) -> PassFilter:
    return {
        "asked": len(rates),
        "kept": kept,
        "too_low": sum(rate < low for rate in rates),
        "too_high": sum(rate > high for rate in rates),
        "never": sum(rate == 0 for rate in rates),
        "always": sum(rate == 1 for rate in rates),
        "mean": sum(rates) / len(rates),
        "completions": sum(map(len, sampled.answers)),
        "tokens": sampled.tokens,
        "seconds": sampled.seconds,
        "belongs_to": sampled.belongs_to,
    }


def _report(figures: PassFilter, low: float, high: float, notes: list[str]) -> None:
    """Adds a sentence on what was left out.

    Raises:
        LoraparError: All was.
    """
    found = (
        f"of {counted(figures['asked'], 'prompt')} {figures['never']:,} never "
        f"{inflected(figures['never'], 'passes', 'pass')} and {figures['always']:,} always "
        f"{inflected(figures['always'], 'does', 'do')}, the mean pass rate is {figures['mean']:.3f}"
    )
    if not figures["kept"]:
        raise LoraparError(
            f"no prompt has a pass rate from {low:g} to {high:g}",
            found,
            "widen `--min-pass` and `--max-pass`, give more `--pass-samples`, or other records",
        )
    dropped = figures["too_low"] + figures["too_high"]
    if dropped:
        notes.append(
            f"{dropped:,} of {counted(figures['asked'], 'prompt')} left out by pass rate: "
            f"{figures['too_low']:,} below {low:g}, {figures['too_high']:,} above {high:g}; {found}"
        )
