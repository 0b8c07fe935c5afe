"""How likely a model finds given continuations of a context, as multiple-choice tasks compare them."""

import torch
from peft import PeftModel

from lorapar_cli.models.generation import _accepted, _pad_left


def encode_choice(tokenizer, context: str, choice: str) -> tuple[list[int], list[int]]:
    """Returns the tokens of a context and of the continuation that follows it.

    The whole is tokenized and then divided, so that a token across the border is the
    continuation's. Source: lm-evaluation-harness, `_encode_pair`.
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
    tokenizer,
    asked: list[list[tuple[list[int], list[int]]]],
    longest: int | None,
) -> list[list[float]]:
    """Returns each choice's log-likelihood after its context, summed over its tokens.

    Args:
        asked: For each item its choices as `encode_choice` returns them.
        longest: Tokens that the model's positions reach; contexts are cut from the left.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    device = next(inner.parameters()).device
    cut = [
        [((context + choice)[-(longest + 1) :] if longest else context + choice, len(choice))
         for context, choice in choices]
        for choices in asked
    ]  # fmt: skip
    # Choices of one token share their context, and its forward pass.
    rows: dict[tuple[int, ...], int] = {}
    for whole, _ in (one for choices in cut for one in choices):
        rows.setdefault(tuple(whole[:-1]), len(rows))
    kept = max(length for choices in cut for _, length in choices)
    ids, mask = _pad_left([list(row) for row in rows], tokenizer.pad_token_id, device)
    given = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0), "logits_to_keep": kept}
    logits = inner(input_ids=ids, attention_mask=mask, **_accepted(inner, given)).logits
    shares = torch.log_softmax(logits[:, -kept:].float(), dim=-1).cpu()
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
