"""Asks a model a task's items, batch by batch, and yields graded samples."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.sample_journal import Sample, describe_sample
from lorapar_cli.evaluation.tasks.task import Item, Task, grade_items
from lorapar_cli.grading.grade import Grade
from lorapar_cli.models.choices import encode_choice, score_choices
from lorapar_cli.models.generation import Completion, Decoding, complete_batch, plan_batches
from lorapar_cli.models.tokenization import encode_prompt


@dataclass(frozen=True)
class PromptBatch:
    """Items that are asked together, always in this composition: it decides the rounding."""

    number: int
    draw: int
    places: list[int]


class Completer(Protocol):
    """What answers: a model of transformers or of vLLM, with or without an adapter."""

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int) -> list[Completion]:
        """Returns one completion a prompt, in order."""


@dataclass(frozen=True)
class LoadedModel:
    """The writer of transformers."""

    model: Any
    tokenizer: Any

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int) -> list[Completion]:
        """Returns one completion a prompt, in order."""
        return complete_batch(self.model, self.tokenizer, prompts, decoding, seed)


class Predictor:
    """A task in the tokens of one tokenizer, in batches that depend on nothing else.

    Args:
        draws: Completions of each item.
        longest: Tokens that the model's positions reach, where known.

    Attributes:
        cut: Prompts that were cut from the left, as the harness does, to fit the model.

    Raises:
        LoraparError: A prompt of the user's own data leaves no room for an answer.
    """

    def __init__(
        self,
        task: Task,
        tokenizer,
        decoding: Decoding,
        *,
        batch_size: int,
        draws: int,
        seed: int,
        longest: int | None,
        sandbox: str | None,
    ) -> None:
        self.task, self.tokenizer, self.decoding = task, tokenizer, decoding
        self.batch_size = batch_size
        self.seed, self.longest, self.sandbox, self.cut = seed, longest, sandbox, 0
        self._prompts = [self._encode(item) for item in task.items]
        lengths = [len(prompt) for prompt in self._prompts]
        self.batches = [
            PromptBatch(number, draw, places)
            for draw in range(draws)
            for number, places in enumerate(plan_batches(lengths, batch_size))
        ]

    def _encode(self, item: Item) -> list[int]:
        if self.task.plain:
            prompt = list(self.tokenizer(item.prompt)["input_ids"])
        else:
            prompt = encode_prompt(self.tokenizer, item.prompt)
        if item.choices or self.longest is None:
            return prompt
        room = self.longest - self.decoding.max_new_tokens
        if self.task.plain and 0 < room < len(prompt):
            self.cut += 1
            return prompt[-room:]
        if len(prompt) >= self.longest:
            raise LoraparError(
                f"the prompt of `{item.id}` leaves no room for an answer",
                f"{len(prompt):,} tokens, the model reaches {self.longest:,}",
                "leave the record out, give fewer examples, or give another model",
            )
        return prompt

    def ask(self, name: str, writer: Completer, batch: PromptBatch) -> Iterator[Sample]:
        """Yields the batch's graded samples of a model of that name."""
        items = [self.task.items[place] for place in batch.places]
        if isinstance(writer, LoadedModel) and self.task.match == "likelihood":
            yield from self._compare(name, writer.model, items)
            return
        prompts = [self._prompts[place] for place in batch.places]
        # Each model, draw and batch draws from a stream of its own.
        stream = f"{self.seed} {name} {batch.draw} {batch.number}"
        seed = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:7], "little")
        written = writer.complete(prompts, self.decoding.within(self.longest, prompts), seed)
        texts = [completion.text for completion in written]
        grades = grade_items(self.task.match, items, texts, self.sandbox)
        for item, completion, grade in zip(items, written, grades, strict=True):
            yield describe_sample(name, item, batch.draw, completion.text, grade) | {
                "tokens": completion.tokens,
                "finished": completion.finished,
            }

    def _compare(self, name: str, model, items: list[Item]) -> Iterator[Sample]:
        asked = [
            [encode_choice(self.tokenizer, item.prompt, choice) for choice in item.choices]
            for item in items
        ]
        scores = score_choices(model, self.tokenizer, asked, self.longest)
        for item, values in zip(items, scores, strict=True):
            chosen = item.choices[values.index(max(values))].strip()
            grade: Grade = {"extracted": chosen, "correct": chosen == item.reference}
            yield describe_sample(name, item, 0, "", grade) | {
                "scores": [round(value, 6) for value in values],
                "tokens": 0,
                "finished": True,
            }
