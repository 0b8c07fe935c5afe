"""Sizes and passes of a model without weights, against those of one with weights."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.memory.outline import Drawn, outline, prompt_pass, training_pass
from tests.scoring.architectures import FAMILIES, build

TARGETS = ("q_proj", "down_proj")


def drawn(folder, **changed):
    base = find_base_model(str(folder))
    return Drawn(base, torch.float32, 8, TARGETS, **changed)


def test_sizes_are_those_of_the_loaded_model(tiny_model_dir):
    found = outline(drawn(tiny_model_dir))
    base = load_base(find_base_model(str(tiny_model_dir)))
    assert found.weights == sum(p.numel() for p in base.parameters())
    layer = sum(p.numel() for p in base.model.layers[0].parameters())
    assert found.layer == layer
    assert found.outside == found.weights - 2 * layer
    linear = [m.weight.numel() for m in base.modules() if isinstance(m, torch.nn.Linear)]
    assert found.quantizable == sum(linear) - base.lm_head.weight.numel()
    model = create_adapter(
        base, r=8, lora_alpha=8, target_modules=list(TARGETS), init="orthogonal", seed=0
    )
    assert found.elements == sum(p.numel() for p in adapter_parameters(model).values())
    cache = base(input_ids=torch.zeros(1, 3, dtype=torch.long), use_cache=True).past_key_values
    assert found.cache * 3 == sum(k.numel() + v.numel() for k, v, *_ in cache)


def measured(folder, rows, tokens, *more):
    script = Path(__file__).with_name("measured_pass.py")
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        # Freed memory goes back to the system, so that what is resident is what is alive.
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(rows), str(tokens), *more],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("more", [(), ("checkpointing",)], ids=["kept", "recomputed"])
def test_activations_are_those_that_a_pass_needs(middling_dir, more):
    """Within a fifth: the process's own memory grows a little, and looks miss short peaks."""
    found = training_pass(
        drawn(middling_dir), 8, 256, head=False, checkpointing=bool(more), autocast=False
    )
    needed = measured(middling_dir, 8, 256, *more)
    assert found == pytest.approx(needed, rel=0.2), (found, needed)


def test_deep_models_are_extrapolated_exactly(middling_dir, monkeypatch):
    from lorapar_cli.models.memory import outline as module

    short = training_pass(
        drawn(middling_dir), 2, 64, head=True, checkpointing=False, autocast=False
    )
    monkeypatch.setattr(module, "_SHORT", 5)
    whole = training_pass(
        drawn(middling_dir), 2, 64, head=True, checkpointing=False, autocast=False
    )
    assert short == whole


def test_what_saves_memory_does(middling_dir):
    model = drawn(middling_dir)
    common = {"head": False, "autocast": False}
    kept = training_pass(model, 4, 128, checkpointing=False, **common)
    assert training_pass(model, 4, 128, checkpointing=True, **common) < kept / 3
    assert training_pass(model, 8, 128, checkpointing=False, **common) > 1.8 * kept
    assert training_pass(replace(model, dropout=0.1), 4, 128, checkpointing=False, **common) > kept
    eager = replace(model, attention="eager")
    assert training_pass(eager, 4, 128, checkpointing=False, **common) > kept
    half = replace(model, dtype=torch.bfloat16)
    assert training_pass(half, 4, 128, checkpointing=False, head=False, autocast=True) < kept


def test_a_prompt_leaves_its_cache(middling_dir):
    model = drawn(middling_dir)
    cache = 4 * 16 * 64 * outline(model).cache
    assert cache < prompt_pass(model, 16, 64) < 4 * cache


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_outlined(family, tmp_path):
    model = build(family)
    model.config.save_pretrained(tmp_path)
    base = find_base_model(str(tmp_path))
    drawing = Drawn(base, torch.float32, 4, tuple(FAMILIES[family][2]))
    assert outline(drawing).weights == sum(p.numel() for p in model.parameters())
    passed = training_pass(drawing, 2, 16, head=True, checkpointing=False, autocast=False)
    assert passed > 2 * 16 * 97 * 4


def test_targets_that_match_nothing_are_an_error(tiny_model_dir):
    with pytest.raises(LoraparError, match="match nothing"):
        outline(replace(drawn(tiny_model_dir), targets=("nowhere",)))
