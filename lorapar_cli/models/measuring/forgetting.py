"""What an adapter changes besides what it is trained for: losses and distances from the base model."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.nn.functional import log_softmax
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.batches import (
    Batch,
    BatchLayout,
    make_batch,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.models.distributed import ALONE, Processes
from lorapar_cli.models.peft_adapter import without_adapter
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import read_text

NEUTRAL_TEXT = Path(__file__).with_name("neutral.txt")
"""Chapters I to IV of Lewis Carroll, "Alice's Adventures in Wonderland", 1865: public domain."""

# Tokens of a batch, padding included: bounds the logits, which are as wide as the vocabulary.
_BATCH_TOKENS = 2048
_ROWS = 256


@torch.no_grad()
def record_losses(
    model: torch.nn.Module,
    samples: Sequence[Encoded],
    pad_token_id: int,
    processes: Processes = ALONE,
) -> list[float]:
    """Returns each sample's mean cross-entropy over its completion tokens, in nats.

    Args:
        model: In evaluation mode.
        processes: Each of them computes its share of the batches.
    """
    losses = [0.0] * len(samples)
    for indices, batch in _batches(model, samples, pad_token_id, processes):
        for index, loss in zip(indices, sample_losses(model, batch).tolist(), strict=True):
            losses[index] = loss
    return processes.complete(losses, transformers_model(model).device)


@torch.no_grad()
def kl_from_base(
    model: torch.nn.Module,
    samples: Sequence[Encoded],
    pad_token_id: int,
    processes: Processes = ALONE,
) -> list[float]:
    """Returns KL(base || adapter) of the next token, averaged over each sample's completion, in nats.

    On completions that the base model has sampled, the mean is an unbiased estimate of the
    divergence per token between what the two models write.

    Args:
        model: Base and adapter, in evaluation mode.
        samples: Prompts with the base model's completions.
        processes: Each of them computes its share of the batches.

    Source: Shenfeld et al., "RL's Razor", arXiv 2509.04259: forgetting follows this divergence on
    the new task's prompts.
    """
    divergences = [0.0] * len(samples)
    for indices, batch in _batches(model, samples, pad_token_id, processes):
        adapted = log_softmax(prediction_logits(model, batch).float(), dim=-1)
        with without_adapter(model) as plain:
            base = log_softmax(prediction_logits(plain, batch).float(), dim=-1)
        by_token = _divergences(base, adapted)
        means = by_token.new_zeros(batch.size).index_add(0, batch.owners, by_token * batch.weights)
        for index, value in zip(indices, means.tolist(), strict=True):
            divergences[index] = value
    return processes.complete(divergences, transformers_model(model).device)


def _divergences(base: torch.Tensor, adapted: torch.Tensor) -> torch.Tensor:
    """Returns KL(base || adapted) of each row of log-probabilities `[tokens, vocabulary]`."""
    # In parts: what lies between is as large as the logits, of which there are two already.
    parts = [
        (b.exp() * (b - a)).sum(-1)
        for b, a in zip(base.split(_ROWS), adapted.split(_ROWS), strict=True)
    ]
    # Rounding can make the sum of a distribution that has not moved slightly negative.
    return torch.cat(parts).clamp(min=0)


def text_windows(
    tokenizer: PreTrainedTokenizerBase, path: Path, max_length: int | None, window: int = 512
) -> list[Encoded]:
    """Returns a text as consecutive windows, whose tokens but the first contribute to a loss.

    Args:
        path: A UTF-8 file, tokenized as it stands, without a chat template.
        max_length: Number of the model's positions, None where it is not known.
        window: Tokens of a window, if the model has as many positions.

    Raises:
        LoraparError: The text is shorter than two tokens, or blank.
    """
    text = read_text(path)
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    length = min(window, max_length or window)
    parts = [tokens[start : start + length] for start in range(0, len(tokens), length)]
    windows = [Encoded(part, 1) for part in parts if len(part) > 1]
    if not windows or not text.strip():
        raise LoraparError(
            f"`{path}` is too short",
            f"it has {counted(len(tokens), 'token')}" if text.strip() else "it is empty or blank",
            "name a text of some thousand words with `--neutral`, or omit it for lorapar's own",
        )
    return windows


def text_loss(
    model: torch.nn.Module,
    windows: Sequence[Encoded],
    pad_token_id: int,
    processes: Processes = ALONE,
) -> float:
    """Returns the mean cross-entropy over all tokens of a text that are predicted, in nats."""
    losses = record_losses(model, windows, pad_token_id, processes)
    counts = [each.completion_length for each in windows]
    weighted = sum(loss * count for loss, count in zip(losses, counts, strict=True))
    return weighted / sum(counts)


def _batches(
    model: torch.nn.Module, samples: Sequence[Encoded], pad_token_id: int, processes: Processes
) -> Iterator[tuple[list[int], Batch]]:
    """Yields the indices and the batch of samples of similar length, always in one composition."""
    every, layout = list(samples), BatchLayout()
    order = sorted(range(len(every)), key=lambda index: -len(every[index].input_ids))
    device = transformers_model(model).device
    for indices in processes.share(layout.divide(every, order, _BATCH_TOKENS)):
        yield indices, make_batch([every[i] for i in indices], pad_token_id, device, layout)
