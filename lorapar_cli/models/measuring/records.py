"""Records in a model's tokens: losses of their completions, and how often it answers correctly."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.grading.grade import grade
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.distributed import ALONE, Processes
from lorapar_cli.models.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.models.measuring.forgetting import record_losses
from lorapar_cli.models.rendering.blocks import as_read
from lorapar_cli.models.rendering.encoding import Encoded, encode_records
from lorapar_cli.models.rendering.tokenization import continues_block, encode_prompt
from lorapar_cli.store.records import Record

UNLABELLED = "unlabelled"
"""Stands for the system of records that have none."""


@dataclass(frozen=True)
class Answering:
    """How answers are asked for and judged.

    Attributes:
        match: The rule of grading: `answer`, `latex`, `exact` or `choice`.
        max_new_tokens: Tokens after which an answer is truncated.
        batch_size: Prompts that are completed together.
    """

    match: str
    max_new_tokens: int
    batch_size: int
    memory_hint: str = "give a smaller `--batch-size`"


@dataclass(frozen=True)
class RecordSet:
    """Records in the tokens of a base model.

    Attributes:
        systems: Of each record: a system, or `unlabelled`.
        encoded: Prompt and completion of each.
        asked: Places of the records that have a reference answer.
        prompts: Token ids of the prompts of these.
        accepted: Answers that are right for each of these.
        too_long: Number of records left out because they exceed the model's positions.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int | None
    systems: list[str]
    encoded: list[Encoded]
    asked: list[int]
    prompts: list[list[int]]
    accepted: list[list[str]]
    too_long: int
    answering: Answering | None

    def losses(
        self, model: torch.nn.Module, processes: Processes = ALONE
    ) -> dict[str, list[float]]:
        """Returns system -> losses of its records' completions, in nats per token.

        Args:
            model: In evaluation mode, as for `answers`.
            processes: Each of them does its share of the batches, as for `answers`.
        """
        pad = self.tokenizer.pad_token_id
        return _by_system(self.systems, record_losses(model, self.encoded, pad, processes))

    def answers(self, model: torch.nn.Module, processes: Processes = ALONE) -> dict[str, list[int]]:
        """Returns system -> 1 or 0 for each record that is answered, greedily, right or wrong."""
        if self.answering is None or not self.asked:
            return {}
        right = [0.0] * len(self.asked)
        batches = plan_batches([len(prompt) for prompt in self.prompts], self.answering.batch_size)
        for batch in processes.share(batches):
            for place, correct in zip(batch, self._answer(model, batch), strict=True):
                right[place] = correct
        right = processes.complete(right, transformers_model(model).device)
        return _by_system([self.systems[n] for n in self.asked], [int(value) for value in right])

    def _answer(self, model: torch.nn.Module, places: list[int]) -> list[bool]:
        """Returns whether each of these prompts is answered correctly."""
        if self.answering is None:
            raise AssertionError("nothing says how answers are judged")
        prompts = [self.prompts[n] for n in places]
        decoding = Decoding(self.answering.max_new_tokens).within(self.max_length, prompts)
        hint = self.answering.memory_hint
        done = complete_batch(model, self.tokenizer, prompts, decoding, memory_hint=hint)
        accepted = [self.accepted[n] for n in places]
        grades = grade(
            self.answering.match,
            [
                as_read(each.text, continues_block(self.tokenizer, prompt), each.finished)
                for prompt, each in zip(prompts, done, strict=True)
            ],
            [each[0] for each in accepted],
            others=[each[1:] for each in accepted],
        )
        return [each["correct"] for each in grades]


def _by_system(systems: Sequence[str], values: Sequence) -> dict[str, list]:
    found: dict[str, list] = {}
    for system, value in zip(systems, values, strict=True):
        found.setdefault(system, []).append(value)
    return found


def encode_set(
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    systems: Sequence[str],
    max_length: int | None,
    answering: Answering | None,
) -> RecordSet:
    """Returns the records that the model has positions for, in its tokens.

    Args:
        systems: Of each record: a system, or `unlabelled`.
        max_length: Number of the model's positions, None where it is not known.
        answering: How answers are judged; None where they are not asked for.
    """
    every = encode_records(tokenizer, list(records))
    kept = [
        n for n, item in enumerate(every) if not max_length or len(item.input_ids) <= max_length
    ]
    accepted: dict[int, list[str]] = {}
    if answering is not None:
        found = {place: records[n].accepted_by(answering.match) for place, n in enumerate(kept)}
        accepted = {place: answers for place, answers in found.items() if answers}
    return RecordSet(
        tokenizer,
        max_length,
        [systems[n] for n in kept],
        [every[n] for n in kept],
        list(accepted),
        [_prompt(tokenizer, records[kept[place]]) for place in accepted],
        list(accepted.values()),
        len(records) - len(kept),
        answering,
    )


def _prompt(tokenizer: PreTrainedTokenizerBase, record: Record) -> list[int]:
    return encode_prompt(tokenizer, record.prompt, record.tools, record.id)
