"""Log-likelihoods of given continuations, by which multiple-choice tasks choose an answer."""

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.batches import pad
from lorapar_cli.models.generation import accepted_arguments

Choice = tuple[list[int], list[int]]
"""Token ids of a context and of a continuation."""


def encode_choice(tokenizer: PreTrainedTokenizerBase, context: str, choice: str) -> Choice:
    """Returns the tokens of a context and of the continuation that follows it.

    Both are tokenized together and then divided, so that a token across the boundary belongs to
    the continuation. Source: lm-evaluation-harness, `_encode_pair`.
    """
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, choice = context[:-blanks], context[-blanks:] + choice
    whole = tokenizer(context + choice)["input_ids"]
    before = len(tokenizer(context)["input_ids"])
    return whole[:before], whole[before:]


@torch.inference_mode()
def score_choices(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    items: list[list[Choice]],
    max_length: int | None,
) -> list[list[float]]:
    """Returns each choice's log-likelihood after its context, summed over its tokens.

    Args:
        items: Each item's choices, as `encode_choice` returns them.
        max_length: Number of the model's positions; contexts are truncated from the left.
    """
    inner = transformers_model(model)
    kept = slice(-(max_length + 1), None) if max_length else slice(None)
    cut = [[((before + after)[kept], len(after)) for before, after in choices] for choices in items]
    # Choices of one token share their context, and its forward pass.
    rows: dict[tuple[int, ...], int] = {}
    for whole, _ in (one for choices in cut for one in choices):
        rows.setdefault(tuple(whole[:-1]), len(rows))
    longest = max(length for choices in cut for _, length in choices)
    padded = pad([list(row) for row in rows], tokenizer.pad_token_id, left=True)
    ids, mask = (part.to(inner.device) for part in padded)
    given = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0), "logits_to_keep": longest}
    logits = inner(input_ids=ids, attention_mask=mask, **accepted_arguments(inner, given)).logits
    shares = torch.log_softmax(logits[:, -longest:].float(), dim=-1).cpu()
    return [
        [
            float(
                shares[rows[tuple(whole[:-1])], -length:]
                .gather(-1, torch.tensor(whole[-length:])[:, None])
                .sum()
            )
            for whole, length in choices
        ]
        for choices in cut
    ]
