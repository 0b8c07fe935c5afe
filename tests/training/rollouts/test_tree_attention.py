"""Rows that share prompts: every token sees its own sample, and the numbers are those of `sdpa`."""

import numpy as np
import pytest
import torch
from trl.experimental.async_grpo.packing import TreeRow

from lorapar_cli.errors import LoraparError
from lorapar_cli.training.rollouts.tree_attention import tree_mask, use_tree_attention
from tests.scoring.architectures import adapted, build

SAMPLES = [[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6, 7, 8, 2, 4, 1, 3, 2, 6, 9, 7], [4, 4, 5]]


def row_of(samples):
    row = TreeRow()
    for ids in samples:
        row.add(
            {
                "input_ids": np.array(ids),
                "completion_mask": np.array([0] + [1] * (len(ids) - 1)),
                "old_log_probs": np.zeros(len(ids)),
                "advantage": 1.0,
                "group_id": 0,
            }
        )
    return row.pack()


@pytest.mark.parametrize("window", [None, 1, 3])
def test_a_token_attends_to_its_own_sample(window):
    packed = row_of(SAMPLES)
    keys = ("tree_kv_index", "tree_cu_seqlens_q", "tree_cu_seqlens_k")
    mask = tree_mask(*(packed[key] for key in keys), window)
    tokens, positions = packed["input_ids"].tolist(), packed["position_ids"].tolist()
    paths = []
    for place in range(len(tokens)):
        seen = mask[place].nonzero().flatten().tolist()
        # What it sees is a run of a sample, in order, that ends with itself.
        assert max(seen) == place
        start = 0 if window is None else max(0, positions[place] + 1 - window)
        assert [positions[other] for other in seen] == list(range(start, positions[place] + 1))
        paths.append([tokens[other] for other in seen])
    if window is None:
        assert all(ids in paths for ids in SAMPLES)
        assert all(any(path == ids[: len(path)] for ids in SAMPLES) for path in paths)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "gemma3", "phi3"])
def test_logits_are_those_of_each_sample_alone(family):
    model = adapted(family)
    alone = [model(input_ids=torch.tensor([ids])).logits[0] for ids in SAMPLES]
    use_tree_attention(model)
    packed = row_of(SAMPLES)
    longest = {
        f"tree_max_seqlen_{side}": int(packed["tree_max_seqlens"][i]) for i, side in enumerate("qk")
    }
    keys = ("tree_kv_index", "tree_cu_seqlens_q", "tree_cu_seqlens_k")
    together = model(
        input_ids=packed["input_ids"][None],
        position_ids=packed["position_ids"][None],
        use_cache=False,
        **{key: packed[key] for key in keys},
        **longest,
    ).logits[0]
    # The last token of each sample is a leaf of the tree.
    leaves = _places(packed)
    for logits, place in zip(alone, leaves, strict=True):
        torch.testing.assert_close(together[place], logits[-1], rtol=1e-4, atol=1e-4)
    # Without a tree, the model computes what it did.
    again = model(input_ids=torch.tensor([SAMPLES[0]])).logits[0]
    torch.testing.assert_close(again, alone[0], rtol=1e-5, atol=1e-5)


def _places(packed):
    """Returns where the last token of each sample lies in the row."""
    mask = tree_mask(
        *(packed[key] for key in ("tree_kv_index", "tree_cu_seqlens_q", "tree_cu_seqlens_k")), None
    )
    tokens = packed["input_ids"]
    found = []
    for ids in SAMPLES:
        found += [p for p in range(len(tokens)) if tokens[mask[p]].tolist() == ids]
    assert len(found) == len(SAMPLES)
    return found


@pytest.mark.parametrize("change", ["layer_types", "attn_logit_softcapping"])
def test_models_with_an_attention_of_their_own_are_refused(change):
    model = build("llama")
    value = {"layer_types": ["linear_attention"] * 2, "attn_logit_softcapping": 50.0}[change]
    setattr(model.config, change, value)
    with pytest.raises(LoraparError, match="`--vllm async` cannot train") as caught:
        use_tree_attention(model)
    assert "--vllm server" in caught.value.hint
