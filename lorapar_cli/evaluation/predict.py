"""Has a model complete a task's items, batch by batch, and grades the completions."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import Sample, describe_sample
from lorapar_cli.evaluation.tasks.task import Item, Task, grade_items
from lorapar_cli.grading.grade import Grade
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.models.choices import encode_choice, score_choices
from lorapar_cli.models.generation import Completion, Decoding, complete_batch, plan_batches
from lorapar_cli.models.rendering.blocks import as_read
from lorapar_cli.models.rendering.tokenization import continues_block, encode_prompt
from lorapar_cli.plurals import counted


@dataclass(frozen=True)
class PromptBatch:
    """Items that are completed together, always in this composition: it decides the rounding.

    Attributes:
        number: Of the batch among those of its draw.
        draw: Number of the completion among those of each item.
        indices: Of the items in the task.
    """

    number: int
    draw: int
    indices: list[int]


class Completer(Protocol):
    """A model of some backend, with or without an adapter."""

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int) -> list[Completion]:
        """Returns one completion per prompt, in order."""


@dataclass(frozen=True)
class TransformersModel:
    """A model that transformers has loaded, in evaluation mode."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int) -> list[Completion]:
        """Returns one completion per prompt, in order."""
        return complete_batch(self.model, self.tokenizer, prompts, decoding, seed)


@dataclass(frozen=True)
class Predictor:
    """A task in the tokens of one tokenizer, in batches that depend on nothing else.

    Attributes:
        max_length: Number of the model's positions, None where it is not known.
        sandbox: How programs are run, None where none are.
        prompts: Token ids of each item's prompt.
        truncated: Number of prompts that were truncated from the left to fit the model.
    """

    task: Task
    tokenizer: PreTrainedTokenizerBase
    decoding: Decoding
    seed: int
    max_length: int | None
    sandbox: Sandbox | None
    prompts: list[list[int]]
    batches: list[PromptBatch]
    truncated: int

    def predict(self, name: str, completer: Completer, batch: PromptBatch) -> list[Sample]:
        """Returns the batch's graded samples of the model of that name."""
        items = [self.task.items[index] for index in batch.indices]
        if isinstance(completer, TransformersModel) and self.task.match == "likelihood":
            return self._compare_choices(name, completer.model, items)
        prompts = [self.prompts[index] for index in batch.indices]
        # Each model, draw and batch has a random stream of its own.
        stream = f"{self.seed} {name} {batch.draw} {batch.number}"
        seed = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:7], "little")
        decoding = self.decoding.within(self.max_length, prompts)
        completions = completer.complete(prompts, decoding, seed)
        texts = [
            as_read(completion.text, continues_block(self.tokenizer, prompt), completion.finished)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        grades = grade_items(self.task.match, items, texts, self.sandbox)
        return [
            describe_sample(name, item, batch.draw, completion.text, grade)
            | {"tokens": completion.tokens, "finished": completion.finished}
            for item, completion, grade in zip(items, completions, grades, strict=True)
        ]

    def _compare_choices(
        self, name: str, model: torch.nn.Module, items: list[Item]
    ) -> list[Sample]:
        """Returns a sample per item with its likeliest choice."""
        choices = [
            [encode_choice(self.tokenizer, item.text, choice) for choice in item.choices]
            for item in items
        ]
        samples = []
        scores = score_choices(model, self.tokenizer, choices, self.max_length)
        for item, values in zip(items, scores, strict=True):
            chosen = item.choices[values.index(max(values))].strip()
            grade: Grade = {"extracted": chosen, "correct": chosen == item.reference}
            samples.append(
                describe_sample(name, item, 0, "", grade)
                | {
                    "scores": [round(value, 6) for value in values],
                    "tokens": 0,
                    "finished": True,
                }
            )
        return samples


def prepare_prompts(
    task: Task,
    options: EvalOptions,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    sandbox: Sandbox | None,
) -> Predictor:
    """Returns the task's prompts as tokens, in batches.

    Args:
        max_length: Number of the model's positions, None where it is not known.

    Raises:
        LoraparError: A prompt of the user's own data leaves no room for a completion.
    """
    encoded = [_encode(task, item, tokenizer) for item in task.items]
    prompts = encoded
    if max_length is not None:
        prompts = [
            _fit(task, item, prompt, max_length, options.max_new_tokens)
            for item, prompt in zip(task.items, encoded, strict=True)
        ]
    truncated = sum(len(kept) < len(whole) for kept, whole in zip(prompts, encoded, strict=True))
    # The harness makes its own batches.
    together = options.batch_size if options.backend != "lm-eval" else len(prompts)
    batches = [
        PromptBatch(number, draw, indices)
        for draw in range(options.samples)
        for number, indices in enumerate(plan_batches([len(p) for p in prompts], together))
    ]
    decoding = Decoding(options.max_new_tokens, options.temperature, options.top_p, list(task.stop))
    return Predictor(
        task, tokenizer, decoding, options.seed, max_length, sandbox, prompts, batches, truncated
    )


def _encode(task: Task, item: Item, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if task.plain:
        return list(tokenizer(item.text)["input_ids"])
    return encode_prompt(tokenizer, item.prompt, item.tools, item.id)


def _fit(
    task: Task, item: Item, prompt: list[int], max_length: int, max_new_tokens: int
) -> list[int]:
    """Returns the prompt, truncated from the left as the harness does where the task is plain."""
    if item.choices:
        return prompt  # Truncated together with each choice.
    room = max_length - max_new_tokens
    if task.plain and 0 < room < len(prompt):
        return prompt[-room:]
    if len(prompt) >= max_length:
        raise LoraparError(
            f"the prompt of `{item.id}` leaves no room for a completion",
            f"{counted(len(prompt), 'token')}, the model has {counted(max_length, 'position')}",
            "remove the record, give fewer examples, or use another model",
        )
    return prompt
