"""Batched generation with a KV cache: rows leave the batch when they end.

Differs from `transformers.generate` in cost, not in what greedy decoding returns. Of the model's own
generation settings the end tokens always apply; the caller decides on the rest (`Decoding`).
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from lorapar_cli.errors import Diverged, LoraparError
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.batches import pad
from lorapar_cli.models.rendering.tokenization import decode_text
from lorapar_cli.plurals import counted

# Copying the cache pays off once a quarter of the rows has ended.
_DROP_SHARE = 0.75
_STOP_CHECK_STEPS = 8
# How torch refuses, on a CPU, to draw from probabilities that are not finite.
_NO_PROBABILITIES = "probability tensor contains"


@dataclass(frozen=True)
class Decoding:
    """How completions are decoded.

    Attributes:
        max_new_tokens: Tokens after which a completion is truncated.
        temperature: 0 takes the likeliest token; above 0, tokens are sampled.
        top_p: Sample from the smallest set of tokens with this probability; 1 for all tokens.
        stop: Texts that end a completion; they are not part of it.
        repetition_penalty: Above 1, tokens that the prompt or the completion contains become less
            likely (`RepetitionPenalty`); 1 for none.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: list[str] = field(default_factory=list)
    repetition_penalty: float = 1.0

    def within(self, max_length: int | None, prompts: Iterable[list[int]]) -> "Decoding":
        """Returns this decoding with no more new tokens than the model's positions leave.

        Args:
            max_length: Number of the model's positions, None where there is no limit.
            prompts: Token ids of the batch's prompts, each shorter than `max_length`.
        """
        if max_length is None:
            return self
        room = max_length - max(map(len, prompts))
        return replace(self, max_new_tokens=min(self.max_new_tokens, room))


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: Without special tokens, and up to a stop text.
        tokens: Number of tokens generated, the end of sequence included.
        finished: Whether it ended by itself; False where `max_new_tokens` truncated it.
    """

    text: str
    tokens: int
    finished: bool


def plan_batches(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Returns the indices of each batch's prompts: longest first, similar lengths together.

    It depends on nothing else, so a resumed run has the same batches, and with them the same
    rounding and the same completions.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def accepted_arguments(model: torch.nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns those of the arguments that the model's forward pass has."""
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in arguments.items() if name in known}


def end_tokens(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Returns the ids that end a completion: the tokenizer's and the model's own."""
    configured = getattr(transformers_model(model).generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {tokenizer.eos_token_id, *listed} - {None}


def complete_batch(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: Decoding,
    seed: int = 0,
    *,
    memory_hint: str = "give a smaller `--batch-size`",
) -> list[Completion]:
    """Returns one completion per prompt, in order.

    Args:
        model: A causal LM, with or without an adapter, in evaluation mode.
        prompts: Token ids of each prompt, none empty.
        seed: Determines every sampled token.
        memory_hint: What to do when the GPU runs out of memory.

    Raises:
        LoraparError: The GPU has not enough memory for the batch.
    """
    ends = end_tokens(model, tokenizer)
    written = decode_batch(model, tokenizer, prompts, decoding, seed, memory_hint=memory_hint)
    return [_to_completion(tokenizer, tokens, decoding, ends) for tokens in written]


@contextmanager
def finite_probabilities() -> Iterator[None]:
    """Turns what torch says of logits that are not finite into an expected error.

    On a GPU, where torch ends all work of the process instead, its own error stays.

    Raises:
        Diverged: No token can be sampled.
    """
    try:
        yield
    except RuntimeError as cause:
        if _NO_PROBABILITIES not in str(cause):
            raise
        raise Diverged(
            "no token can be sampled: the model's outputs are not finite",
            "training at too high a rate leaves such weights",
            "train at a lower `--learning-rate`",
        ) from cause


@torch.inference_mode()
def decode_batch(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: Decoding,
    seed: int = 0,
    *,
    memory_hint: str = "give a smaller `--batch-size`",
) -> list[list[int]]:
    """Returns the token ids generated for each prompt, its end of sequence included.

    Args:
        model, prompts, seed, memory_hint: As of `complete_batch`.

    Raises:
        Diverged: Logits are not finite, where tokens are sampled.
        LoraparError: The GPU has not enough memory for the batch.
    """
    ends = end_tokens(model, tokenizer)
    try:
        with finite_probabilities():
            return _decode(model, tokenizer, prompts, decoding, ends, seed)
    except torch.OutOfMemoryError as cause:
        raise LoraparError(
            f"not enough GPU memory to complete {counted(len(prompts), 'prompt')} at once",
            f"the longest prompt has {counted(max(map(len, prompts)), 'token')}",
            memory_hint,
        ) from cause


def _decode(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: Decoding,
    ends: set[int],
    seed: int,
) -> list[list[int]]:
    """Returns the tokens generated for each prompt, its end of sequence included."""
    inner = transformers_model(model)
    device = inner.device
    # Padding on the left puts every completion right after its prompt.
    ids, mask = (part.to(device) for part in pad(prompts, tokenizer.pad_token_id, left=True))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    pick = _picker(decoding, torch.Generator(device).manual_seed(seed))
    penalty = RepetitionPenalty(decoding.repetition_penalty)
    written: list[list[int]] = [[] for _ in prompts]
    rows, cache = list(range(len(prompts))), None
    ended: set[int] = set()
    for step in range(1, decoding.max_new_tokens + 1):
        output = inner(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **accepted_arguments(inner, {"position_ids": positions, "logits_to_keep": 1}),
        )
        cache = output.past_key_values
        penalty.count(ids, mask[:, -ids.shape[1] :], output.logits.shape[-1])
        chosen = pick(penalty.apply(output.logits[:, -1].float())).tolist()
        for row, token in zip(rows, chosen, strict=True):
            if row not in ended:
                written[row].append(token)
        ended.update(row for row in rows if written[row][-1] in ends)
        if decoding.stop and step % _STOP_CHECK_STEPS == 0:
            ended.update(row for row in rows if _stopped(tokenizer, written[row], decoding.stop))
        if len(ended) == len(prompts):
            break
        going = [place for place, row in enumerate(rows) if row not in ended]
        positions = positions[:, -1:]
        if len(going) <= _DROP_SHARE * len(rows) and _rows_can_leave(cache):
            kept = torch.tensor(going, device=device)
            cache.batch_select_indices(kept)
            penalty.keep(kept)
            mask, positions = mask[kept], positions[kept]
            rows, chosen = [rows[place] for place in going], [chosen[place] for place in going]
        ids = torch.tensor(chosen, device=device)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=-1)
        positions = positions + 1
    return written


def _rows_can_leave(cache: Any) -> bool:
    """Returns whether the cache holds keys and values only: other states keep their rows."""
    layers = getattr(cache, "layers", [])
    return bool(layers) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )


class RepetitionPenalty:
    """Makes the tokens of each row's prompt and completion less likely.

    A logit l of such a token becomes l / penalty where l > 0 and l x penalty elsewhere.

    Source: CTRL, arXiv 1909.05858, Sec. 4.1, with the sign rule of transformers'
    `RepetitionPenaltyLogitsProcessor`.
    """

    def __init__(self, penalty: float) -> None:
        self._penalty = penalty
        self._counts: torch.Tensor | None = None

    def count(self, ids: torch.Tensor, attended: torch.Tensor, vocabulary: int) -> None:
        """Counts tokens `[rows, tokens]` where `attended`, of the same shape, is 1."""
        if self._penalty == 1:
            return
        if self._counts is None:
            self._counts = attended.new_zeros(len(ids), vocabulary)
        self._counts.scatter_add_(1, ids, attended)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the logits `[rows, vocabulary]` after the penalty."""
        if self._counts is None:
            return logits
        penalised = torch.where(logits < 0, logits * self._penalty, logits / self._penalty)
        return torch.where(self._counts > 0, penalised, logits)

    def keep(self, rows: torch.Tensor) -> None:
        """Forgets all rows but those of these indices."""
        if self._counts is not None:
            self._counts = self._counts[rows]


def _picker(
    decoding: Decoding, generator: torch.Generator
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the function from logits `[rows, vocabulary]` to token ids `[rows]`."""

    def draw(logits: torch.Tensor) -> torch.Tensor:
        shares = torch.softmax(logits / decoding.temperature, dim=-1)
        if decoding.top_p < 1:
            ordered, index = shares.sort(dim=-1, descending=True)
            # A token stays while the sum before it is below top_p: the first always does.
            ordered[ordered.cumsum(-1) - ordered >= decoding.top_p] = 0
            shares = torch.zeros_like(shares).scatter(-1, index, ordered)
        return torch.multinomial(shares, 1, generator=generator)[:, 0]

    return draw if decoding.temperature > 0 else lambda logits: logits.argmax(dim=-1)


def _stopped(tokenizer: PreTrainedTokenizerBase, tokens: list[int], stop: list[str]) -> bool:
    text = decode_text(tokenizer, tokens, skip_special_tokens=True)
    return any(end in text for end in stop)


def _to_completion(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], decoding: Decoding, ends: set[int]
) -> Completion:
    text = decode_text(tokenizer, tokens, skip_special_tokens=True)
    stop = min((text.find(end) for end in decoding.stop if end in text), default=None)
    finished = stop is not None or tokens[-1] in ends
    return Completion(text if stop is None else text[:stop], len(tokens), finished)
