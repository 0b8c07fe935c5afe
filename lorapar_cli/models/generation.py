"""Batched generation: prompts of like length together, KV cache, finished rows dropped.

Differs from `transformers.generate` in what it costs, not in what greedy decoding gives: a row
leaves the batch when it ends, and prompts are sorted by length, so little is computed for padding.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from lorapar_cli.errors import LoraparError

# Copying the cache pays once a quarter of the rows has ended.
_DROP_SHARE = 0.75
_STOP_CHECK_STEPS = 8


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn.

    Attributes:
        max_new_tokens: Tokens after which a completion is cut.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        top_p: Smallest set of tokens with this probability that is drawn from; 1 for all.
        stop: Texts that end a completion; they are not part of it.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: Without special tokens, cut before a stop text.
        tokens: Number of tokens generated, the end of sequence included.
        finished: Whether it ended by itself; False where `max_new_tokens` cut it.
    """

    text: str
    tokens: int
    finished: bool


def plan_batches(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Returns the positions of each batch: longest prompts first, like lengths together.

    It depends on nothing else, so an interrupted run that goes on has the same batches, and with
    them the same rounding and the same completions.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _accepted(model: torch.nn.Module, given: dict) -> dict:
    """Returns the arguments that the model's forward pass knows."""
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in given.items() if name in known}


def end_tokens(model: torch.nn.Module, tokenizer) -> list[int]:
    """Returns the ids that end a completion: the tokenizer's and the model's own."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({tokenizer.eos_token_id, *configured} - {None})


@torch.inference_mode()
def complete_batch(
    model: torch.nn.Module,
    tokenizer,
    prompts: list[list[int]],
    decoding: Decoding,
    seed: int = 0,
) -> list[Completion]:
    """Returns one completion a prompt, in order.

    Args:
        model: A causal LM, with or without an adapter, in evaluation mode.
        prompts: Token ids of each prompt, none empty.
        seed: Decides everything random above temperature 0.

    Raises:
        LoraparError: The GPU has not enough memory for the batch.
    """
    ends = set(end_tokens(model, tokenizer))
    try:
        written = _decode(model, tokenizer, prompts, decoding, ends, seed)
    except torch.OutOfMemoryError as cause:
        raise LoraparError(
            f"not enough GPU memory to complete {len(prompts)} prompts at once",
            f"the longest prompt has {max(map(len, prompts))} tokens",
            "give a smaller `--batch-size`",
        ) from cause
    return [_to_completion(tokenizer, tokens, decoding, ends) for tokens in written]


def _decode(
    model, tokenizer, prompts: list[list[int]], decoding: Decoding, ends: set[int], seed: int
) -> list[list[int]]:
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    device = next(inner.parameters()).device
    ids, mask = _pad_left(prompts, tokenizer.pad_token_id, device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    pick = _picker(decoding, torch.Generator(device).manual_seed(seed))
    written: list[list[int]] = [[] for _ in prompts]
    rows, ended, cache = list(range(len(prompts))), set(), None
    for step in range(1, decoding.max_new_tokens + 1):
        given = {"position_ids": positions, "logits_to_keep": 1}
        output = inner(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **_accepted(inner, given),
        )
        cache = output.past_key_values
        chosen = pick(output.logits[:, -1].float()).tolist()
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


def _pad_left(
    prompts: list[list[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token ids and attention mask, both `[prompts, longest]` int64."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _picker(
    decoding: Decoding, generator: torch.Generator
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the function from logits `[rows, vocabulary]` to token ids `[rows]`."""

    def draw(logits: torch.Tensor) -> torch.Tensor:
        shares = torch.softmax(logits / decoding.temperature, dim=-1)
        if decoding.top_p < 1:
            ordered, index = shares.sort(dim=-1, descending=True)
            # A token stays while what lies before it has not reached top_p: the first always does.
            ordered[ordered.cumsum(-1) - ordered >= decoding.top_p] = 0
            shares = torch.zeros_like(shares).scatter(-1, index, ordered)
        return torch.multinomial(shares, 1, generator=generator)[:, 0]

    return draw if decoding.temperature > 0 else lambda logits: logits.argmax(dim=-1)


def _stopped(tokenizer, tokens: list[int], stop: list[str]) -> bool:
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return any(end in text for end in stop)


def _to_completion(tokenizer, tokens: list[int], decoding: Decoding, ends: set[int]) -> Completion:
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    cut = min((text.find(end) for end in decoding.stop if end in text), default=None)
    finished = cut is not None or tokens[-1] in ends
    return Completion(text if cut is None else text[:cut], len(tokens), finished)
