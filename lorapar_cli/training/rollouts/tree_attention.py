"""Attention over the rows that TRL's asynchronous GRPO packs, by PyTorch alone.

A row is a tree: completions of one prompt share its tokens. Each segment of the tree attends to the
path that leads to it. TRL computes that with a kernel for Hopper GPUs that is downloaded when
training starts; here it is a mask for PyTorch's attention, so that it runs anywhere and needs
memory for tokens x tokens of a row. Without a tree, passes are those of `sdpa`.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import transformers_model

NAME = "lorapar_tree"
# The mask of the last pass: every layer asks for the same one, by the same tensors.
_last: dict[int | None, tuple[torch.Tensor, torch.Tensor]] = {}


def tree_mask(
    index: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Returns which token may attend to which, `[tokens, tokens]` bool.

    Args:
        index: Places of the tokens on the path to each segment, the segment's own last; the paths
            of all segments end to end.
        queries: Where segments begin in the row, and where the last one ends.
        keys: The same of paths in `index`.
        window: Tokens that are attended to at most, the token itself among them; None for all.
    """
    firsts, starts = queries.tolist(), keys.tolist()
    mask = torch.zeros(firsts[-1], firsts[-1], dtype=torch.bool, device=index.device)
    for number in range(len(firsts) - 1):
        path = index[starts[number] : starts[number + 1]].long()
        depth = torch.arange(len(path), device=index.device)
        own = depth[len(path) - (firsts[number + 1] - firsts[number]) :, None]
        visible = depth <= own
        if window is not None:
            visible = visible & (depth > own - window)
        mask[firsts[number] : firsts[number + 1], path] = visible
    return mask


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    tree_kv_index: torch.Tensor | None = None,
    tree_cu_seqlens_q: torch.Tensor | None = None,
    tree_cu_seqlens_k: torch.Tensor | None = None,
    tree_max_seqlen_q: int | None = None,
    tree_max_seqlen_k: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Returns attention's output `[batch, tokens, heads, size]`, of a tree or as `sdpa` does it."""
    if tree_kv_index is not None and tree_cu_seqlens_q is not None:
        if tree_cu_seqlens_k is None:
            raise AssertionError("a tree without the lengths of its paths")
        window = options.get("sliding_window")
        known = _last.get(window)
        if known is None or known[0] is not tree_kv_index:
            mask = tree_mask(tree_kv_index, tree_cu_seqlens_q, tree_cu_seqlens_k, window)
            known = _last[window] = tree_kv_index, mask
        attention_mask = known[1].to(query.device)[None, None]
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def forget_mask() -> None:
    """Gives back the memory of the last pass's mask."""
    _last.clear()


def use_tree_attention(model: torch.nn.Module) -> None:
    """Has a model attend so from now on.

    Args:
        model: With or without an adapter.

    Raises:
        LoraparError: It computes attention in a way of its own.
    """
    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    inner = transformers_model(model)
    inner.set_attn_implementation(NAME)
    text = inner.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    own = None
    if inner.config._attn_implementation != NAME:
        own = f"`{type(inner).__name__}` does not let its attention be chosen"
    elif kinds:
        own = f"it has layers of type {', '.join(sorted(kinds))}"
    elif getattr(text, "attn_logit_softcapping", None) is not None:
        own = "it caps the logits of attention"
    elif any(name.endswith(".sinks") for name, _ in inner.named_parameters()):
        own = "it has attention sinks"
    if own is not None:
        raise LoraparError(
            "`--vllm async` cannot train this base model", own, "use `--vllm server` or `colocate`"
        )
