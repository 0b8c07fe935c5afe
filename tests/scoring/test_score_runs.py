"""score in several processes, interrupted, quantised, under each formula and init."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.elements.top_sets import Ranking, TopSetMask, importance_keys
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.checkpoint import partial_folder
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.scoring.split_half import jaccard
from lorapar_cli.store.records import write_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors

OPTIONS = ScoreOptions(r=4, lora_alpha=8)


@pytest.fixture(scope="module")
def splits(tmp_path_factory, labelled_records):
    folder = tmp_path_factory.mktemp("splits")
    for system in System:
        chosen = [record for record in labelled_records if record.label == system]
        write_records(folder / f"{system}.jsonl", chosen)
    return folder


def importance_of(root):
    return read_tensors(root / "score" / "importance.safetensors")[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_model_dir, splits):
    root = tmp_path_factory.mktemp("alone")
    score(RunDir(root), OPTIONS, model=str(tiny_model_dir), splits=splits)
    return root


def relative_norm(found, expected) -> float:
    difference = sum(((found[k].astype(float) - expected[k]) ** 2).sum() for k in expected)
    return float(np.sqrt(difference / sum((v.astype(float) ** 2).sum() for v in expected.values())))


def top_set(tensors, system) -> np.ndarray:
    names = sorted(name for name in tensors if name.startswith(system))

    def keys():
        return (importance_keys(tensors[name]) for name in names)

    picker = TopSetMask(Ranking(keys).by_share([0.9])[0])
    return np.concatenate([picker.pick(vector) for vector in keys()])


def launch(*launcher, root, model, splits, extra=()):
    command = [
        *(sys.executable, "-m", *launcher, "-m", "lorapar_cli", "score", "--model", str(model)),
        *("--splits", str(splits), "--run-dir", str(root), "--rank", "4", "--lora-alpha", "8"),
        *extra,
    ]
    environment = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize("init", ["corda", "lora_ga"])
def test_two_processes_draw_the_same_adapter_from_data(tmp_path, tiny_model_dir, splits, init):
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29618")
    both, alone = tmp_path / "both", tmp_path / "alone"
    arguments = {"model": tiny_model_dir, "splits": splits, "extra": ("--init", init)}
    done = launch(*launcher, root=both, **arguments)
    assert done.returncode == 0, done.stderr
    options = replace(OPTIONS, init=init)
    outcome = score(RunDir(alone), options, model=str(tiny_model_dir), splits=splits)
    assert relative_norm(importance_of(both), importance_of(alone)) < 1e-6
    assert any("looked at 24 samples" in note for note in outcome.manifest.notes)
    adapters = [
        (root / "score" / "adapter" / "adapter_model.safetensors").read_bytes()
        for root in (both, alone)
    ]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("extra", [(), ("--packing", "--batch-tokens", "400")])
def test_two_processes_equal_one(alone, tmp_path, tiny_model_dir, splits, extra):
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617")
    done = launch(*launcher, root=tmp_path, model=tiny_model_dir, splits=splits, extra=extra)
    assert done.returncode == 0, done.stderr
    found, expected = importance_of(tmp_path), importance_of(alone)
    assert relative_norm(found, expected) < 1e-6
    for system in System:
        assert jaccard(top_set(found, system), top_set(expected, system)) >= 0.9999
    manifest = json.loads((tmp_path / "score" / "manifest.json").read_text())
    assert manifest["counts"]["samples"] == {"system1": 12, "system2": 12}
    assert not partial_folder(tmp_path / "score").exists()


def test_a_launcher_that_starts_too_few_is_an_error(tmp_path, tiny_model_dir, splits):
    launcher = ("accelerate.commands.launch", "--cpu", "--num_processes", "2")
    done = launch(*launcher, root=tmp_path / "run", model=tiny_model_dir, splits=splits)
    assert done.returncode != 0
    assert "started fewer processes than it was asked for" in done.stderr
    assert not (tmp_path / "run").exists()


def test_packed_samples_give_the_same_importance(alone, tmp_path, tiny_model_dir, splits):
    options = replace(OPTIONS, packing=True, batch_tokens=400)
    outcome = score(RunDir(tmp_path), options, model=str(tiny_model_dir), splits=splits)
    assert relative_norm(importance_of(tmp_path), importance_of(alone)) < 1e-6
    assert outcome.manifest.settings["packing"] is True


def test_an_encoder_decoder_is_not_packed(tmp_path, tiny_model_dir, splits):
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    options = replace(OPTIONS, packing=True, target_modules=("q", "v"))
    with pytest.raises(UsageError, match="--packing"):
        score(RunDir(tmp_path / "run"), options, model=str(tmp_path / "t5"), splits=splits)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("batches_before", [2, 15])
def test_an_interrupted_run_goes_on(
    alone, tmp_path, tiny_model_dir, splits, monkeypatch, batches_before, packing
):
    from lorapar_cli.scoring import accumulate as scoring

    run, calls = scoring._Attempt.run, []

    def interrupted(self, capture, work):
        if len(calls) == batches_before:
            raise KeyboardInterrupt
        calls.append(work.indices)
        run(self, capture, work)

    options = replace(OPTIONS, batch_tokens=90, packing=packing)
    arguments = {"model": str(tiny_model_dir), "splits": splits, "save_seconds": 0}
    with monkeypatch.context() as patch:
        patch.setattr(scoring._Attempt, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score(RunDir(tmp_path), options, **arguments)
    assert partial_folder(tmp_path / "score").is_dir()
    monkeypatch.setattr(
        scoring._Attempt,
        "run",
        lambda self, capture, work: (calls.append(work.indices), run(self, capture, work)),
    )
    outcome = score(RunDir(tmp_path), options, **arguments)
    assert sum(map(len, calls)) == 24  # no sample was gone over twice
    assert any("went on from" in note for note in outcome.manifest.notes)
    assert not partial_folder(tmp_path / "score").exists()
    uninterrupted = tmp_path / "uninterrupted"
    score(RunDir(uninterrupted), options, model=str(tiny_model_dir), splits=splits)
    found, expected = importance_of(tmp_path), importance_of(uninterrupted)
    assert all((found[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"packing": True}])
def test_sums_of_other_settings_are_not_gone_on_from(
    tmp_path, tiny_model_dir, splits, monkeypatch, changed
):
    from lorapar_cli.scoring import accumulate as scoring

    run, calls = scoring._Attempt.run, []

    def counted(self, capture, work):
        if len(calls) == 2:
            calls.append(None)
            raise KeyboardInterrupt
        calls.append(work.indices)
        run(self, capture, work)

    monkeypatch.setattr(scoring._Attempt, "run", counted)
    arguments = {"model": str(tiny_model_dir), "splits": splits, "save_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        score(RunDir(tmp_path), OPTIONS, **arguments)
    outcome = score(RunDir(tmp_path), replace(OPTIONS, **changed), **arguments)
    assert not any("went on from" in note for note in outcome.manifest.notes)
    assert outcome.manifest.counts["samples"] == {"system1": 12, "system2": 12}


def test_other_weights_under_the_same_name_are_scored_again(tmp_path, tiny_model_dir, splits):
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    arguments = {"model": str(folder), "splits": splits}
    first = score(RunDir(tmp_path / "run"), OPTIONS, **arguments)
    assert not score(RunDir(tmp_path / "run"), OPTIONS, **arguments).fresh
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    second = score(RunDir(tmp_path / "run"), OPTIONS, **arguments)
    assert second.fresh
    assert second.manifest.base_model["revision"] != first.manifest.base_model["revision"]


def test_samples_are_chosen_by_seed_and_too_few_are_said(tmp_path, tiny_model_dir, splits):
    arguments = {"model": str(tiny_model_dir), "splits": splits}
    options = replace(OPTIONS, samples=5)
    first = score(RunDir(tmp_path / "a"), options, **arguments)
    score(RunDir(tmp_path / "b"), replace(options, seed=1), **arguments)
    assert first.manifest.counts["samples"] == {"system1": 5, "system2": 5}
    assert relative_norm(importance_of(tmp_path / "a"), importance_of(tmp_path / "b")) > 1e-3
    more = replace(OPTIONS, samples=50)
    outcome = score(RunDir(tmp_path / "c"), more, given=["samples"], **arguments)
    assert any("fewer than the 50 asked" in note for note in outcome.manifest.notes)


@pytest.mark.parametrize("formula", ["taylor1", "fisher", "magnitude", "random"])
def test_every_formula_can_be_partitioned(alone, tmp_path, tiny_model_dir, splits, formula):
    options = replace(OPTIONS, formula=formula)
    score(RunDir(tmp_path), options, model=str(tiny_model_dir), splits=splits)
    found = importance_of(tmp_path)
    assert relative_norm(found, importance_of(alone)) > 1e-4
    outcome = partition(RunDir(tmp_path), PartitionOptions())
    same = all(
        (found[f"system1/{n}"] == found[f"system2/{n}"]).all()
        for n in (name.partition("/")[2] for name in found)
    )
    assert same == (formula == "magnitude")
    assert (outcome.manifest.metrics["jaccard"] == 1) == same


def test_the_noise_of_the_halves_is_reported(alone):
    content = json.loads((alone / "score" / "manifest.json").read_text())
    noise = content["metrics"]["noise"]
    assert 0 < noise["chance"] < noise["between"] < 1
    assert noise["samples"] == 12
    assert any("sampling noise" in note for note in content["notes"])


@pytest.mark.parametrize("init", ["pissa", "olora", "corda", "lora_ga"])
def test_base_changing_inits_load_on_the_unmodified_base(tmp_path, tiny_model_dir, splits, init):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    outcome = score(
        RunDir(tmp_path), replace(OPTIONS, init=init), model=str(tiny_model_dir), splits=splits
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    ids = torch.arange(5, 25)[None]
    expected = base(input_ids=ids).logits
    adapted = PeftModel.from_pretrained(base, str(outcome.folder / "adapter")).eval()
    assert adapted.peft_config["default"].r == 8
    torch.testing.assert_close(adapted(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5)
    raw, _ = read_tensors(outcome.folder / "adapter-raw" / "adapter_model.safetensors")
    found = importance_of(tmp_path)
    assert {name: value.shape for name, value in raw.items()} == {
        name.partition("/")[2]: value.shape for name, value in found.items()
    }
    assert all(value.any() for value in raw.values())


@pytest.mark.parametrize("init", ["default", "gaussian", "mica", "eva", "xavier", "pissa_niter_N"])
def test_inits_that_cannot_be_scored_are_refused_before_loading(tmp_path, splits, init):
    with pytest.raises(UsageError) as raised:
        score(RunDir(tmp_path / "run"), replace(OPTIONS, init=init), model="nowhere", splits=splits)
    assert "orthogonal" in raised.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"init": "corda", "quantize": "4bit"}, "unquantised"),
        ({"init": "lora_ga", "quantize": "8bit"}, "unquantised"),
        ({"init": "loftq"}, "4-bit"),
        ({"init": "loftq", "quantize": "8bit"}, "4-bit"),
        ({"init": "gaussian", "init_scale": 0.0}, "above 0"),
        ({"init": "gaussian", "init_scale": float("nan")}, "above 0"),
        ({"init": "gaussian", "init_scale": float("inf")}, "above 0"),
        ({"init": "mica", "formula": "magnitude"}, "keeps frozen"),
        ({"init": "mica", "formula": "random"}, "keeps frozen"),
    ],
)
def test_inits_say_what_they_need_before_loading(tmp_path, splits, changed, words):
    with pytest.raises(UsageError, match=words) as raised:
        score(RunDir(tmp_path / "run"), replace(OPTIONS, **changed), model="nowhere", splits=splits)
    assert "--" in raised.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("init", "frozen"), [("default", "A"), ("gaussian", "A"), ("eva", "A"), ("mica", "B")]
)
def test_fisher_scores_what_has_a_gradient_where_half_of_the_adapter_is_zero(
    tmp_path, tiny_model_dir, splits, init, frozen
):
    """With B = 0 no loss depends on A yet, and the other way round: B of `mica` stays frozen."""
    options = replace(OPTIONS, init=init, formula="fisher")
    outcome = score(RunDir(tmp_path), options, model=str(tiny_model_dir), splits=splits)
    assert outcome.manifest.metrics["step0_logit_difference"] == 0
    found = importance_of(tmp_path)
    assert all(values.any() != (f".lora_{frozen}." in name) for name, values in found.items())
    mask, _ = read_tensors(
        partition(RunDir(tmp_path), PartitionOptions(theta=1.0)).folder / "mask.safetensors"
    )
    assert not any(flags.any() for name, flags in mask.items() if f".lora_{frozen}." in name)


def test_importance_that_underflows_is_said(tmp_path, tiny_model_dir, splits):
    options = replace(OPTIONS, init="gaussian", init_scale=1e-30)
    with pytest.raises(UsageError, match="every element is zero for system1") as raised:
        score(RunDir(tmp_path / "run"), options, model=str(tiny_model_dir), splits=splits)
    assert "underflows float32" in raised.value.found


def test_gaussian_with_a_scale_says_what_it_changes(tmp_path, tiny_model_dir, splits):
    options = replace(OPTIONS, init="gaussian", init_scale=0.05)
    outcome = score(RunDir(tmp_path), options, model=str(tiny_model_dir), splits=splits)
    assert outcome.manifest.metrics["step0_logit_difference"] > 1e-3
    assert any("changes the base model's function" in note for note in outcome.manifest.notes)


def test_routed_experts_that_no_target_reaches_are_said(tmp_path, tiny_model_dir, splits):
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        pad_token_id=tokenizer.pad_token_id,
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    options = replace(OPTIONS, target_modules=("q_proj", "v_proj"), samples=4)
    outcome = score(RunDir(tmp_path / "run"), options, model=str(tmp_path / "moe"), splits=splits)
    assert any("routed experts are 3-D tensors" in note for note in outcome.manifest.notes)
    with pytest.raises(LoraparError, match="gate_proj") as raised:
        score(RunDir(tmp_path / "run"), OPTIONS, model=str(tmp_path / "moe"), splits=splits)
    assert "routed experts are 3-D tensors" in raised.value.found


@pytest.fixture(scope="module")
def wider_model_dir(tmp_path_factory, tiny_model_dir):
    """A Llama of hidden size 128: bitsandbytes quantises blocks of 64 values."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wider")
    config = AutoConfig.from_pretrained(tiny_model_dir)
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 256, 32
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("init", ["orthogonal", "pissa"])
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_base_weights(tmp_path, wider_model_dir, splits, quantize, init):
    pytest.importorskip("bitsandbytes")
    arguments = {"model": str(wider_model_dir), "splits": splits}
    score(RunDir(tmp_path / "whole"), replace(OPTIONS, init=init), **arguments)
    options = replace(OPTIONS, init=init, quantize=quantize)
    outcome = score(RunDir(tmp_path), options, **arguments)
    assert outcome.manifest.metrics["step0_logit_difference"] < 1e-4
    if init == "orthogonal":  # pissa starts from the rounded weights' own values
        # The weights differ by their rounding, and the importance with them, but not by much.
        difference = relative_norm(importance_of(tmp_path), importance_of(tmp_path / "whole"))
        assert 1e-4 < difference < 0.5


def test_loftq_corrects_what_four_bit_weights_have_lost(tmp_path, wider_model_dir, splits):
    pytest.importorskip("bitsandbytes")
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    from lorapar_cli.models.base_model import find_base_model, load_base

    options = replace(OPTIONS, init="loftq", quantize="4bit", r=8, lora_alpha=32)
    outcome = score(RunDir(tmp_path), options, model=str(wider_model_dir), splits=splits)
    assert outcome.manifest.metrics["step0_logit_difference"] > 1e-3
    for words in ("changes the base model's function at step 0", "--quantize 4bit"):
        assert any(words in note for note in outcome.manifest.notes)
    assert all(values.any() for values in importance_of(tmp_path).values())
    ids = torch.arange(5, 65)[None]
    whole = LlamaForCausalLM.from_pretrained(wider_model_dir).eval()
    quantised = load_base(find_base_model(str(wider_model_dir)), quantize="4bit")
    with torch.no_grad():
        expected = whole(ids).logits
        rounded = (quantised(ids).logits - expected).norm()
        adapted = PeftModel.from_pretrained(quantised, str(outcome.folder / "adapter")).eval()
        corrected = (adapted(ids).logits - expected).norm()
    assert corrected < 0.95 * rounded
    again = score(
        RunDir(tmp_path / "again"), options, model=str(wider_model_dir), splits=splits
    ).folder
    assert importance_of(tmp_path / "again").keys() == importance_of(tmp_path).keys()
    assert (again / "importance.safetensors").read_bytes() == (
        outcome.folder / "importance.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("init", ["eva", "mica"])
def test_inits_of_a_zero_half_on_quantised_weights(tmp_path, wider_model_dir, splits, init):
    pytest.importorskip("bitsandbytes")
    options = replace(OPTIONS, init=init, formula="fisher", quantize="4bit")
    outcome = score(RunDir(tmp_path), options, model=str(wider_model_dir), splits=splits)
    assert outcome.manifest.metrics["step0_logit_difference"] == 0


def test_four_bit_gradients_are_those_of_the_dequantised_weights(tmp_path, wider_model_dir, splits):
    bnb = pytest.importorskip("bitsandbytes")
    from transformers import AutoTokenizer, LlamaForCausalLM

    from lorapar_cli.models.base_model import find_base_model, load_base

    quantised = load_base(find_base_model(str(wider_model_dir)), quantize="4bit")
    plain = LlamaForCausalLM.from_pretrained(wider_model_dir)
    modules = dict(plain.named_modules())
    for name, module in quantised.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            modules[name].weight.data = weight.float()
    plain.save_pretrained(tmp_path / "dequantised")
    AutoTokenizer.from_pretrained(wider_model_dir).save_pretrained(tmp_path / "dequantised")
    options = replace(OPTIONS, quantize="4bit")
    score(RunDir(tmp_path / "a"), options, model=str(wider_model_dir), splits=splits)
    score(RunDir(tmp_path / "b"), OPTIONS, model=str(tmp_path / "dequantised"), splits=splits)
    assert relative_norm(importance_of(tmp_path / "a"), importance_of(tmp_path / "b")) < 1e-3
    packed = replace(options, packing=True, batch_tokens=400)
    score(RunDir(tmp_path / "c"), packed, model=str(wider_model_dir), splits=splits)
    assert relative_norm(importance_of(tmp_path / "c"), importance_of(tmp_path / "a")) < 1e-5


@pytest.mark.parametrize(
    ("dtype", "closest", "farthest"), [("bfloat16", 1e-5, 0.1), ("float16", 1e-6, 0.01)]
)
def test_half_precision_keeps_the_adapter_in_float32(
    tmp_path, tiny_model_dir, splits, alone, dtype, closest, farthest
):
    options = replace(OPTIONS, dtype=dtype)
    outcome = score(RunDir(tmp_path), options, model=str(tiny_model_dir), splits=splits)
    adapter, _ = read_tensors(outcome.folder / "adapter" / "adapter_model.safetensors")
    assert all(value.dtype == np.float32 for value in adapter.values())
    assert closest < relative_norm(importance_of(tmp_path), importance_of(alone)) < farthest
    packed = replace(options, packing=True, batch_tokens=400)
    score(RunDir(tmp_path / "packed"), packed, model=str(tiny_model_dir), splits=splits)
    assert relative_norm(importance_of(tmp_path / "packed"), importance_of(alone)) < farthest


def test_importance_that_is_not_finite_is_refused(tmp_path, tiny_model_dir, splits):
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoraparError, match="not finite for system1"):
        score(RunDir(tmp_path / "run"), OPTIONS, model=str(folder), splits=splits)
    assert not (tmp_path / "run" / "score").exists()


def test_empty_and_missing_splits(tmp_path, tiny_model_dir, labelled_records):
    with pytest.raises(LoraparError, match="labelled splits"):
        score(RunDir(tmp_path), OPTIONS, model=str(tiny_model_dir))
    for system in System:
        write_records(tmp_path / f"{system}.jsonl", [])
    with pytest.raises(LoraparError, match="no records"):
        score(RunDir(tmp_path), OPTIONS, model=str(tiny_model_dir), splits=tmp_path)
