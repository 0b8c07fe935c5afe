"""What is measured of forgetting, prepared once and then asked of one adapter after another."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.distributed import ALONE, Processes
from lorapar_cli.models.measuring.forgetting import (
    NEUTRAL_TEXT,
    kl_from_base,
    text_loss,
    text_windows,
)
from lorapar_cli.models.measuring.records import RecordSet
from lorapar_cli.models.measuring.written import MOST_KL_PROMPTS, base_completions
from lorapar_cli.models.peft_adapter import has_adapter
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.stage_records.forgetting import Forgetting, ForgettingBasis
from lorapar_cli.store.disk.digests import sha256_file

T = TypeVar("T")

MOST_RECORDS = 200
"""Records of a system that losses are means over."""
MOST_NEUTRAL_TOKENS = 8192


@dataclass(frozen=True)
class Prompts:
    """Prompts on which an adapter is compared with its base model.

    Attributes:
        systems: Of each prompt: a system, or `unlabelled`.
        tokens: Token ids of each.
        max_new_tokens: Tokens after which the base model's completion is truncated.
        batch_size: Prompts that it completes together.
    """

    systems: list[str]
    tokens: list[list[int]]
    max_new_tokens: int
    batch_size: int
    seed: int
    memory_hint: str


class ForgettingProbe:
    """Measures forgetting of a base model and of its adapters.

    Args:
        records: What losses are measured on; None for none.
        prompts: Where the distance from the base model is measured: the first 100 of each system.
        neutral: A text of one's own; None for that of the package.
        sources: Name of what was read -> sha256, for the record.
        processes: Each of them does its share.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None,
        records: RecordSet | None,
        prompts: Prompts,
        neutral: Path | None = None,
        sources: dict[str, str] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._records, self._processes = records, processes
        self._prompts = prompts
        self._windows = _first_windows(text_windows(tokenizer, neutral or NEUTRAL_TEXT, max_length))
        self._sources = dict(sources or {})
        if neutral is not None:
            self._sources["neutral"] = sha256_file(neutral)
        self._written: dict[str, list[Encoded]] | None = None

    def write(self, model: torch.nn.Module) -> None:
        """Has the base model complete the prompts, once; an adapter on it is taken off meanwhile."""
        if self._written is not None:
            return
        prompts = self._prompts
        self._written = {}
        for system in dict.fromkeys(prompts.systems):
            own = [t for t, s in zip(prompts.tokens, prompts.systems, strict=True) if s == system]
            own = own[:MOST_KL_PROMPTS]
            found = base_completions(
                model,
                self._tokenizer,
                own,
                max_length=self._max_length,
                max_new_tokens=prompts.max_new_tokens,
                batch_size=prompts.batch_size,
                seed=prompts.seed,
                processes=self._processes,
                memory_hint=prompts.memory_hint,
            )
            if found:
                self._written[system] = found

    def measure(self, model: torch.nn.Module) -> Forgetting:
        """Returns the figures of a model, which `write` has been called with or with its base.

        Args:
            model: In evaluation mode.

        Raises:
            LoraparError: The GPU has not enough memory.
        """
        try:
            return self._measure(model)
        except torch.OutOfMemoryError as cause:
            raise LoraparError(
                "not enough GPU memory to measure forgetting",
                hint="`--no-forgetting` leaves it out; an unfinished training resumes with it",
            ) from cause

    def _measure(self, model: torch.nn.Module) -> Forgetting:
        pad, processes = self._tokenizer.pad_token_id, self._processes
        losses = {} if self._records is None else self._records.losses(model, processes)
        found: Forgetting = {
            "loss": {system: _mean(values) for system, values in sorted(losses.items())},
            "neutral_loss": text_loss(model, self._windows, pad, processes),
        }
        if has_adapter(model) and self._written:
            found["kl"] = {
                system: _mean(kl_from_base(model, own, pad, processes))
                for system, own in sorted(self._written.items())
            }
        return found

    def basis(self) -> ForgettingBasis:
        """Returns what the figures are measured on."""
        systems = [] if self._records is None else self._records.systems
        return {
            "records": {system: systems.count(system) for system in sorted(set(systems))},
            "prompts": {name: len(own) for name, own in sorted((self._written or {}).items())},
            "sources": self._sources,
            "neutral_tokens": sum(each.completion_length for each in self._windows),
        }


def first_of_each(items: Sequence[T], systems: Sequence[str], most: int) -> list[T]:
    """Returns the first `most` items of each system, in their order.

    Args:
        systems: Of each item.
    """
    seen: Counter[str] = Counter()
    kept = []
    for item, system in zip(items, systems, strict=True):
        seen[system] += 1
        if seen[system] <= most:
            kept.append(item)
    return kept


def _first_windows(windows: Sequence[Encoded]) -> list[Encoded]:
    """Returns the first windows of a text, at least one, with at most 8,192 tokens together."""
    kept: list[Encoded] = []
    for each in windows:
        tokens = sum(len(one.input_ids) for one in kept)
        if kept and tokens + len(each.input_ids) > MOST_NEUTRAL_TOKENS:
            break
        kept.append(each)
    return kept


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@contextmanager
def at_rest(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yields a model that is being trained as one to evaluate, and leaves it as it was.

    Dropout is off, what a trainer put around the forward pass (autocast) is off, and gradients,
    random streams and which parameters take gradients stay as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    takes = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    wrapped = {name: model.__dict__.pop(name) for name in ("forward",) if name in model.__dict__}
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices):
            yield model
    finally:
        model.__dict__.update(wrapped)
        for module, training in modes:
            module.training = training
        for parameter, flag in takes:
            parameter.requires_grad_(flag)
