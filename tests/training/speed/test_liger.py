"""`--liger`: refused where its kernels cannot run, and the same training up to rounding on a GPU."""

import importlib.util
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.training.option_aliases import adopt_options
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.speed.kernels import require_kernels
from lorapar_cli.training.speed.requirements import require_speed
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import SFT, adapter, lines, moved


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_told_why(run_dir):
    with pytest.raises(LoraparError, match="`--liger` needs a GPU") as caught:
        train_sft(run_dir, replace(SFT, liger=True))
    assert "Triton" in caught.value.found
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LoraparError, match="needs a package") as caught:
        require_speed(RlOptions(liger=True), Engine.WHOLE, on_gpu=True)
    assert "lorapar[liger]" in caught.value.hint
    require_speed(RlOptions(), Engine.WHOLE, on_gpu=True)


def test_the_trainers_own_name_is_the_same_option():
    options = adopt_options(SftOptions(training=("use_liger_kernel=true",)), ["training"])
    assert options.liger
    assert not options.training


@pytest.mark.parametrize("known", [{"llama": None}, {"mistral": None}])
def test_a_family_without_kernels_is_refused(tiny_model_dir, monkeypatch, known):
    """Liger itself does nothing then, and says nothing."""
    module = ModuleType("liger_kernel.transformers.monkey_patch")
    module.MODEL_TYPE_TO_APPLY_LIGER_FN = known
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    model = load_base(find_base_model(str(tiny_model_dir)))
    if "llama" in known:
        require_kernels(model)
        return
    with pytest.raises(LoraparError, match="no kernels") as caught:
        require_kernels(model)
    assert "`llama`" in caught.value.found


@pytest.mark.gpu
@pytest.mark.extra("liger_kernel")
def test_its_kernels_train_the_same_up_to_rounding(run_dir):
    found = {}
    for liger in (False, True):
        options = replace(
            SFT, liger=liger, lora_dropout=0.0, max_steps=3, dtype="float32", overwrite=True
        )
        assert train_sft(run_dir, options).manifest.counts["frozen_moved"] == 0
        active, frozen = moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
        assert active
        assert not frozen
        steps = lines(run_dir, Stage.TRAIN_SFT, Artifact.METRICS)
        losses = [step["loss"] for step in steps if "loss" in step]
        found[liger] = losses, adapter(run_dir, Stage.TRAIN_SFT)
    np.testing.assert_allclose(found[True][0], found[False][0], rtol=1e-4)
    assert any(
        not np.array_equal(values, found[False][1][name]) for name, values in found[True][1].items()
    ), "not one number differs: no kernel was used"
