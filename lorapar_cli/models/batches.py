"""Batches of samples, padded or packed into one row, and a model's losses on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.rendering.encoding import Encoded


@dataclass(frozen=True)
class BatchLayout:
    """How samples become the inputs of a model.

    Attributes:
        packing: One row of all samples, without padding. Positions restart at each sample, and
            transformers' models separate samples by that.
        decoder_start_token: For an encoder-decoder, the first token of its decoder: the prompt is
            encoded, the completion decoded. None for a decoder-only model.
    """

    packing: bool = False
    decoder_start_token: int | None = None

    def tokens(self, samples: list[Encoded]) -> int:
        """Returns the number of tokens of these samples as one batch, padding included."""
        if self.packing:
            return sum(len(sample.input_ids) for sample in samples)
        if self.decoder_start_token is None:
            return len(samples) * max(len(sample.input_ids) for sample in samples)
        longest = max(sample.prompt_length for sample in samples)
        return len(samples) * (longest + max(sample.completion_length for sample in samples))

    def divide(self, samples: list[Encoded], indices: Iterable[int], limit: int) -> list[list[int]]:
        """Returns the samples' indices in batches, in their order, each of at most `limit` tokens.

        A sample that is longer than the limit is a batch of its own.
        """
        batches: list[list[int]] = []
        for index in indices:
            larger = [*batches[-1], index] if batches else []
            if larger and self.tokens([samples[i] for i in larger]) <= limit:
                batches[-1] = larger
            else:
                batches.append([index])
        return batches


@dataclass(frozen=True)
class Batch:
    """A model's inputs, and where its samples and their losses lie.

    Attributes:
        inputs: `[rows, tokens]` each.
        lengths: Tokens of each sample; in a packed row they lie end to end.
        packed: Whether several samples lie in one row.
        rows, columns: `[predictions]`, the positions whose logits predict completion tokens.
        owners: `[predictions]`, the index of the sample that each belongs to.
        targets: `[predictions]`, the completion tokens.
        weights: `[predictions]` float32, one over the number of the sample's completion tokens.
    """

    inputs: dict[str, torch.Tensor]
    lengths: list[int]
    packed: bool
    rows: torch.Tensor
    columns: torch.Tensor
    owners: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.lengths)


def pad(lists: list[list[int]], value: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token ids and attention mask (1 = not padding), both `[lists, longest]` int64.

    Args:
        value: Token id of padding.
        left: Pad before each list instead of after it.
    """
    longest = max(map(len, lists))
    tokens = torch.full((len(lists), longest), value, dtype=torch.long)
    attended = torch.zeros_like(tokens)
    for row, ids in enumerate(lists):
        start = longest - len(ids) if left else 0
        tokens[row, start : start + len(ids)] = torch.tensor(ids)
        attended[row, start : start + len(ids)] = 1
    return tokens, attended


def least_sample(token: int) -> Encoded:
    """Returns a sample that says nothing, of one token to read and one to predict."""
    return Encoded([token, token], 1)


def make_batch(
    samples: list[Encoded],
    pad_token_id: int,
    device: torch.device,
    layout: BatchLayout,
    padding_side: str = "right",
) -> Batch:
    """Returns the samples as one batch, with positions that ignore padding and neighbours."""
    prompts = [sample.input_ids[: sample.prompt_length] for sample in samples]
    completions = [sample.input_ids[sample.prompt_length :] for sample in samples]
    lengths = [len(sample.input_ids) for sample in samples]
    first = [len(ids) - 1 for ids in prompts]
    rows = list(range(len(samples)))
    left = padding_side == "left"
    if layout.packing:
        inputs = {
            "input_ids": torch.tensor([[i for sample in samples for i in sample.input_ids]]),
            # Only without a mask does transformers read the samples' boundaries from these.
            "position_ids": torch.tensor([[i for length in lengths for i in range(length)]]),
        }
        first = [sum(lengths[:row]) + place for row, place in enumerate(first)]
        rows = [0] * len(samples)
    elif layout.decoder_start_token is not None:
        inputs = _named(pad(prompts, pad_token_id, left=left))
        shifted = [[layout.decoder_start_token, *ids[:-1]] for ids in completions]
        inputs |= _named(pad(shifted, pad_token_id, left=False), "decoder_")
        first = [0] * len(samples)
    else:
        inputs = _named(pad([sample.input_ids for sample in samples], pad_token_id, left=left))
        if left:
            attended = inputs["attention_mask"]
            inputs["position_ids"] = (attended.cumsum(1) - 1).clamp(min=0)
            first = [place + max(lengths) - n for place, n in zip(first, lengths, strict=True)]
    # The logits at one position predict the next token.
    columns = [
        place + offset
        for place, ids in zip(first, completions, strict=True)
        for offset in range(len(ids))
    ]
    counts = torch.tensor([len(ids) for ids in completions])
    return Batch(
        {name: tensor.to(device) for name, tensor in inputs.items()},
        lengths,
        layout.packing and len(samples) > 1,
        torch.tensor(rows).repeat_interleave(counts).to(device),
        torch.tensor(columns, device=device),
        torch.arange(len(samples)).repeat_interleave(counts).to(device),
        torch.tensor([token for ids in completions for token in ids], device=device),
        (1 / counts).repeat_interleave(counts).to(device),
    )


def _named(padded: tuple[torch.Tensor, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}input_ids": padded[0], f"{prefix}attention_mask": padded[1]}


def prediction_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns the logits where a completion token is predicted, `[predictions, vocabulary]`.

    No other logits are computed: with a vocabulary of 100,000 they would take most of the memory.
    """

    def keep_predictions(_module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # Layers that are distributed over devices compute on another one than the inputs' own.
        rows, columns = (index.to(arguments[0].device) for index in (batch.rows, batch.columns))
        return (arguments[0][rows, columns].unsqueeze(0), *arguments[1:])

    # PEFT calls what it wraps without its hooks, with which sharded weights are gathered.
    inner = transformers_model(model)
    if not hasattr(inner, "get_output_embeddings"):
        # Virtual tokens stand before the first one, and their LM's logits are theirs to cut.
        return inner(**batch.inputs, use_cache=False).logits[batch.rows, batch.columns]
    handle = inner.get_output_embeddings().register_forward_pre_hook(keep_predictions)
    try:
        return inner(**batch.inputs, use_cache=False).logits[0]
    finally:
        handle.remove()


def sample_losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns each sample's mean cross-entropy over its completion tokens, `[batch]` float32."""
    logits = prediction_logits(model, batch).float()
    losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    return losses.new_zeros(batch.size).index_add(0, batch.owners, losses * batch.weights)


def decoder_start_token(model: torch.nn.Module) -> int | None:
    """Returns the first token of an encoder-decoder's decoder, None for other models."""
    config = transformers_model(model).config
    return config.decoder_start_token_id if config.is_encoder_decoder else None
