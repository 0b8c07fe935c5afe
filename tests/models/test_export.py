"""Exports compute what was trained, and an export that does not is an error."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as torch_load
from safetensors.torch import save_file as torch_save
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.gpt2 import modeling_gpt2

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import export as exporting
from lorapar_cli.models.adapter import adapter_parameters, create_adapter, save_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.export import copy_adapter, merge
from lorapar_cli.models.measuring.logits import TOLERANCE, compare_logits
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from tests.conftest import build_tokenizer
from tests.scoring.architectures import build


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    return random_adapter(base, tmp_path_factory.mktemp("adapter"), ["q_proj"])


def random_adapter(base, folder, targets):
    """Writes an adapter whose values move the logits."""
    model = create_adapter(
        load_base(base), r=4, lora_alpha=8, target_modules=targets, init="gaussian", seed=0
    )
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            torch.nn.init.normal_(parameter, std=0.3)
    save_adapter(model, folder)
    return folder


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().float()(torch.arange(4, 40).unsqueeze(0)).logits


def trained(base, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.path), adapter)


def largest_difference(first, second) -> float:
    return float((logits(first) - logits(second)).abs().max())


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_merged_weights(base, adapter, tmp_path, dtype):
    merge(base, adapter, tmp_path, dtype, False, template=ChatTemplate("{{ messages[0].content }}"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    half = dtype == "bfloat16"
    assert merged.dtype == (torch.bfloat16 if half else torch.float32)
    # Rounding to bfloat16 is seen, and not more than its tolerance allows.
    difference = compare_logits(base, adapter, tmp_path, True, False)
    assert (difference > TOLERANCE) == half
    assert largest_difference(merged, trained(base, adapter)) < (0.1 if half else 1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == "{{ messages[0].content }}"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_each_tensor_of_several_files_is_what_peft_merges(tmp_path, monkeypatch, tied, dtype):
    """Files with several types, where each keeps its own unless another is asked for."""
    stored = tmp_path / "stored"
    model = build("llama_tied" if tied else "llama").bfloat16()
    for name, parameter in model.named_parameters():
        kept = torch.float32 if "norm" in name else torch.float16 if "v_proj" in name else None
        parameter.data = parameter.data.to(kept)
    model.save_pretrained(stored, max_shard_size="10KB")
    build_tokenizer().save_pretrained(stored)
    sources = read_files(stored)
    names = sorted(path.name for path in stored.glob("*.safetensors*"))
    assert len(names) > 3
    assert ("lm_head.weight" in sources) != tied
    base = find_base_model(str(stored))
    adapter = random_adapter(base, tmp_path / "adapter", ["q_proj", "v_proj", "down_proj"])

    monkeypatch.delattr(exporting, "_merge_whole")
    out = tmp_path / "out"
    out.mkdir()
    merge(base, adapter, out, dtype, False)

    whole = AutoModelForCausalLM.from_pretrained(stored, dtype=torch.float32)
    expected = PeftModel.from_pretrained(whole, adapter).merge_and_unload().state_dict()
    written = read_files(out)
    assert sorted(path.name for path in out.glob("*.safetensors*")) == names
    assert written.keys() == sources.keys()
    for name, tensor in written.items():
        kept = sources[name].dtype if dtype == "auto" else getattr(torch, dtype)
        assert tensor.dtype == kept
        assert torch.equal(tensor, expected[name].to(kept))
    size = sum(tensor.nbytes for tensor in written.values())
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == size
    assert sorted(index["weight_map"]) == sorted(written)


def read_files(folder):
    return {k: v for path in folder.glob("*.safetensors") for k, v in torch_load(path).items()}


def test_tensors_of_eight_bits_keep_their_bytes(base, adapter, tmp_path):
    """Without their scale they mean nothing, so that they cannot become another type."""
    folder = shutil.copytree(base.path, tmp_path / "mixed")
    path = folder / "model.safetensors"
    eight = torch.arange(6).to(torch.float8_e4m3fn)
    torch_save(torch_load(path) | {"experts": eight}, path, {"format": "pt"})
    mixed = find_base_model(str(folder))
    updates = exporting._read_updates(adapter)
    assert exporting._find_tensors([path], updates, torch.float32) is None
    (tmp_path / "out").mkdir()
    merge(mixed, adapter, tmp_path / "out", "auto", False)
    written = torch_load(tmp_path / "out" / "model.safetensors")["experts"]
    assert torch.equal(written.view(torch.uint8), eight.view(torch.uint8))


def test_others_may_read_weights_as_the_umask_says(base, adapter, tmp_path, monkeypatch):
    (tmp_path / "plain").touch()
    allowed = (tmp_path / "plain").stat().st_mode
    merge(base, adapter, tmp_path, "auto", False)
    assert (tmp_path / "model.safetensors").stat().st_mode == allowed
    assert (adapter / "adapter_model.safetensors").stat().st_mode == allowed
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr(exporting, "_find_tensors", lambda *_: None)
    merge(base, adapter, tmp_path, "auto", False)
    assert (tmp_path / "model.safetensors").stat().st_mode == allowed


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_files_that_name_modules_without_the_first_part(tmp_path, monkeypatch, prefix):
    """Conv1D, whose weights are transposed, in files as GPT-2's were published."""
    folder = tmp_path / "gpt2"
    build("gpt2").save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {prefix + name.removeprefix("transformer."): each for name, each in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    base = find_base_model(str(folder))
    random_adapter(base, tmp_path / "adapter", ["c_attn"])
    monkeypatch.delattr(exporting, "_merge_whole")
    (tmp_path / "out").mkdir()
    merge(base, tmp_path / "adapter", tmp_path / "out", "auto", False)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert largest_difference(written, trained(base, tmp_path / "adapter")) < 1e-4


@pytest.mark.parametrize("linear", ["c_attn", "c_fc"])
def test_conv1d_and_linear_modules_side_by_side(tmp_path, monkeypatch, linear):
    """The adapter's configuration has one word for all modules; the last one that was made wrote it."""
    owner = {"c_attn": modeling_gpt2.GPT2Attention, "c_fc": modeling_gpt2.GPT2MLP}[linear]
    real = owner.__init__

    def mixed(self, *args, **kwargs):
        real(self, *args, **kwargs)
        inputs, outputs = getattr(self, linear).weight.shape
        setattr(self, linear, torch.nn.Linear(inputs, outputs))

    monkeypatch.setattr(owner, "__init__", mixed)
    folder = tmp_path / "mixed"
    build("gpt2").save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    base = find_base_model(str(folder))
    random_adapter(base, tmp_path / "adapter", ["c_attn", "c_fc"])
    (tmp_path / "out").mkdir()
    merge(base, tmp_path / "adapter", tmp_path / "out", "auto", False)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert largest_difference(written, trained(base, tmp_path / "adapter")) < 1e-4
    assert largest_difference(written, AutoModelForCausalLM.from_pretrained(folder)) > 1e-2


def test_files_that_name_modules_otherwise_are_merged_in_memory(
    base, adapter, tmp_path, monkeypatch
):
    monkeypatch.setattr(exporting, "_find_tensors", lambda *_: None)
    merge(base, adapter, tmp_path, "auto", False)
    assert compare_logits(base, adapter, tmp_path, True, False) < 1e-4


def test_tensors_are_found_only_if_each_module_has_one(base, adapter):
    files, updates = exporting._weight_files(base), exporting._read_updates(adapter)
    assert sorted(exporting._find_tensors(files, updates).values()) == sorted(updates)
    other = updates | {"model.layers.9.self_attn.q_proj": next(iter(updates.values()))}
    assert exporting._find_tensors(files, other) is None


def test_auto_is_the_dtype_that_the_base_is_stored_in(base, adapter, tiny_model_dir, tmp_path):
    stored = shutil.copytree(tiny_model_dir, tmp_path / "stored")
    AutoModelForCausalLM.from_pretrained(stored, dtype=torch.bfloat16).save_pretrained(stored)
    (tmp_path / "out").mkdir()
    merge(find_base_model(str(stored)), adapter, tmp_path / "out", "auto", False)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert merged.dtype == torch.bfloat16


def test_the_adapter_alone_needs_no_base(base, adapter, tmp_path):
    copy_adapter(adapter, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    plain = AutoModelForCausalLM.from_pretrained(base.path)
    assert largest_difference(plain, trained(base, adapter)) > 1e-3
    written = PeftModel.from_pretrained(plain, tmp_path)
    assert largest_difference(written, trained(base, adapter)) == 0


def test_an_export_that_computes_something_else_is_an_error(base, adapter, tmp_path):
    copy_adapter(adapter, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[min(tensors)] *= -2
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(LoraparError, match="does not compute what was trained") as raised:
        compare_logits(base, adapter, tmp_path, False, False)
    assert "a logit differs by" in raised.value.found


def test_weights_that_no_stage_has_loaded_are_loaded_first(base, adapter, tmp_path):
    folder = shutil.copytree(base.path, tmp_path / "incomplete")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(LoraparError, match="has no weights for"):
        merge(find_base_model(str(folder)), adapter, tmp_path / "out", "auto", False, known=False)


def test_weights_that_are_not_finite_are_refused(base, adapter, tmp_path):
    folder = shutil.copytree(base.path, tmp_path / "nan")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(LoraparError, match="not finite") as raised:
        merge(find_base_model(str(folder)), adapter, tmp_path / "out", "auto", False)
    assert "model.norm.weight" in raised.value.found


def test_an_adapter_of_another_model_is_refused(base, adapter, tmp_path):
    other = shutil.copytree(adapter, tmp_path / "other")
    path = other / "adapter_model.safetensors"
    tensors = {
        name: each[:, :-1].copy() if "lora_A" in name else each
        for name, each in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(LoraparError, match="does not fit the base model"):
        merge(base, other, tmp_path / "out", "auto", False)


@pytest.mark.parametrize("hidden", [False, True])
def test_quantised_weights_are_merged_only_where_they_are_not_touched(
    base, adapter, tmp_path, hidden
):
    """Models may have quantised experts and an attention that is not."""
    folder = shutil.copytree(base.path, tmp_path / "quantised")
    path = folder / "config.json"
    content = json.loads(path.read_text()) | {"quantization_config": {"quant_method": "x"}}
    path.write_text(json.dumps(content))
    tensors = torch_load(folder / "model.safetensors")
    (name,) = [n for n in tensors if n.endswith("layers.0.self_attn.q_proj.weight")]
    if hidden:
        tensors[name] = tensors[name].to(torch.uint8)
        torch_save(tensors, folder / "model.safetensors", {"format": "pt"})
    quantised = replace(base, id="quantised", path=str(folder))
    (tmp_path / "out").mkdir()
    if hidden:
        with pytest.raises(LoraparError, match="cannot be merged into the quantised weights"):
            merge(quantised, adapter, tmp_path / "out", "auto", False)
        return
    merge(quantised, adapter, tmp_path / "out", "auto", False)
    written = torch_load(tmp_path / "out" / "model.safetensors")[name]
    assert not torch.equal(written, tensors[name])


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2}},
        {"alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 3}},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 1}},
        {"layers_to_transform": [1]},
    ],
    ids="-".join,
)
def test_scales_of_modules_are_those_that_peft_merges_with(base, tmp_path, settings):
    """Adapters that others made may have ranks and alphas of single modules."""
    plain = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    config = LoraConfig(**plain, **settings, init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base.path), config)
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    merge(base, tmp_path / "adapter", tmp_path / "out", "auto", False)
    expected = model.merge_and_unload().state_dict()
    for name, tensor in read_files(tmp_path / "out").items():
        assert torch.equal(tensor, expected[name])


def test_tensors_that_are_no_lora_matrices_of_modules_are_not_left_out(base, tmp_path):
    config = LoraConfig(target_modules=["embed_tokens", "q_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base.path), config)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    (tmp_path / "out").mkdir()
    with pytest.raises(LoraparError, match="more than LoRA matrices") as raised:
        merge(base, tmp_path / "adapter", tmp_path / "out", "auto", False)
    assert "lora_embedding_A" in raised.value.found
