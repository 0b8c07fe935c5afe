"""What stages hold on a device, by the formulas that the documentation states."""

import pytest
import torch

from lorapar_cli.models.base_model import find_base_model
from lorapar_cli.models.memory.footprint import ACTIVATIONS, ROLLOUTS, Footprint, plan
from lorapar_cli.models.memory.outline import Drawn, outline


@pytest.fixture
def drawn(tiny_model_dir):
    base = find_base_model(str(tiny_model_dir))
    return Drawn(base, torch.bfloat16, 4, ("q_proj", "up_proj"))


def train(planner, **changed):
    settings = {"active": 100, "checkpointing": False, "autocast": True} | changed
    return planner.train(2, 16, **settings)


def test_phases_that_follow_one_another_do_not_add_up():
    assert Footprint({"a": 3, "b": 4}, {"c": 5, "d": 9}).total == 16
    assert Footprint({"a": 3}, {}).total == 3


def test_formulas(drawn):
    sizes, planner = outline(drawn), plan(drawn)
    score = planner.score(2, 16).parts
    assert score["base model"] == 2 * sizes.weights
    assert score["sums of gradients"] == 32 * sizes.elements
    sft = train(planner).parts
    assert sft["adapter"] == sft["gradients"] == 4 * sizes.elements
    assert sft["optimizer state (AdamW)"] == 8 * 100
    assert sft["logits"] == 2 * 16 * sizes.vocabulary * (2 + 8)
    rl = train(planner, sequences=8, completion=10, reference=True)
    assert rl.parts["adapter"] == 8 * sizes.elements
    assert rl.alternating[ROLLOUTS] > 8 * 16 * sizes.cache * 2
    assert ACTIVATIONS in rl.alternating
    longer = train(planner, sequences=8, completion=12).alternating[ROLLOUTS]
    shorter = train(planner, sequences=8, completion=4).alternating[ROLLOUTS]
    assert longer != shorter


def test_shards_divide_what_is_divided(drawn):
    sizes = outline(drawn)
    shared = plan(drawn, shards=4)
    score = shared.score(1, 16).parts
    assert score["base model, 1 of 4 shards"] == pytest.approx(2 * sizes.weights / 4, abs=2)
    assert score["gathered layers"] == 2 * (sizes.outside + 2 * sizes.layer)
    # `score` keeps the adapter whole; training divides it, and has state for all of it.
    assert score["adapter"] == 4 * sizes.elements
    sft = train(shared).parts
    assert sft["adapter"] == 4 * (sizes.elements // 4)
    assert sft["optimizer state (AdamW)"] == 8 * (sizes.elements // 4)


@pytest.mark.parametrize(("bits", "bytes_each"), [("4bit", 0.5625), ("8bit", 1.0)])
def test_quantised_weights_but_the_head_and_embeddings(drawn, bits, bytes_each):
    sizes = outline(drawn)
    found = plan(drawn, bits).score(1, 16).parts
    rest = sizes.weights - sizes.quantizable
    assert found["base model"] == int(sizes.quantizable * bytes_each) + 2 * rest
    assert found["a dequantised matrix"] == 2 * sizes.largest
