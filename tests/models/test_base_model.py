"""Base models: named, digested and loaded, with their tokenizers."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, T5Config

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models import base_model
from lorapar_cli.models.base_model import (
    avoid_cudnn_attention,
    find_base_model,
    load_base,
    load_tokenizer,
    pick_dtype,
    transformers_model,
)
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.weights_digest import local_revision
from tests.conftest import build_tokenizer
from tests.scoring.architectures import adapted, build

CPU = torch.device("cpu")


def test_a_folder_is_found_by_its_absolute_path_and_digest(tiny_model_dir, monkeypatch):
    monkeypatch.chdir(tiny_model_dir.parent)
    found = find_base_model(tiny_model_dir.name)
    assert found.id == str(tiny_model_dir.resolve())
    assert found.revision == local_revision(str(tiny_model_dir))
    assert (found.max_length, found.encoder_decoder) == (512, False)
    assert found.to_manifest() == {"id": found.id, "revision": found.revision}


def test_the_embedded_model_keeps_its_name():
    found = find_base_model("embedded")
    assert found.id == "embedded"
    assert found.path.endswith("model")
    assert found.max_length == 1024


def test_an_encoder_decoder_is_known_by_its_config(tmp_path):
    T5Config(d_model=32).save_pretrained(tmp_path)
    assert find_base_model(str(tmp_path)).encoder_decoder


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere"])
def test_a_path_that_is_not_a_folder_is_named(name):
    with pytest.raises(LoraparError, match=f"no such folder: `{name}`"):
        find_base_model(name)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(LoraparError, match="cannot load base model") as raised:
        find_base_model(str(tmp_path))
    assert "config.json" in raised.value.hint


def test_dtypes_by_name():
    assert pick_dtype("auto", CPU) is torch.float32
    assert pick_dtype("bfloat16", CPU) is torch.bfloat16
    assert pick_dtype("float16", CPU) is torch.float16
    with pytest.raises(UsageError, match="unknown dtype `int8`") as raised:
        pick_dtype("int8", CPU)
    assert raised.value.hint == "dtypes: auto, float32, bfloat16, float16"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("keep_on_cpu", [False, True])
def test_a_model_is_loaded_for_inference_in_the_dtype_asked_for(tiny_model_dir, dtype, keep_on_cpu):
    model = load_base(find_base_model(str(tiny_model_dir)), dtype, keep_on_cpu=keep_on_cpu)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    expected = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=getattr(torch, dtype))
    ids = torch.arange(4, 20).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(model.cpu()(ids).logits, expected(ids).logits)


def test_quantisation_without_its_library_names_the_extra(tiny_model_dir, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LoraparError, match="needs bitsandbytes") as raised:
        load_base(find_base_model(str(tiny_model_dir)), quantize="4bit")
    assert "lorapar[quantize]" in raised.value.hint


def test_the_model_within_an_adapter():
    base = build("llama")
    assert transformers_model(base) is base
    model = adapted("llama")
    assert transformers_model(model) is model.get_base_model()


@pytest.fixture
def folder(tiny_model_dir, tmp_path):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def test_padding_falls_back_to_the_end_of_sequence(folder):
    assert load_tokenizer(find_base_model(str(folder))).pad_token == "<pad>"
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    content.pop("pad_token")
    path.write_text(json.dumps(content))
    assert load_tokenizer(find_base_model(str(folder))).pad_token == "<eos>"


def test_a_template_replaces_the_models_own(folder):
    base = find_base_model(str(folder))
    assert load_tokenizer(base, template=ChatTemplate("own")).chat_template == "own"
    assert load_tokenizer(base).chat_template == build_tokenizer().chat_template


def test_a_tokenizer_without_an_end_is_an_error(folder):
    tokenizer = build_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(LoraparError, match="no end-of-sequence token"):
        load_tokenizer(find_base_model(str(folder)))


def test_a_folder_without_a_tokenizer_is_named(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    with pytest.raises(LoraparError, match="cannot load the tokenizer"):
        load_tokenizer(find_base_model(str(folder)))


@pytest.fixture
def cudnn_attention():
    """PyTorch's own choice, whatever earlier tests left."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield torch.backends.cuda.cudnn_sdp_enabled
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.parametrize(("device", "left"), [("cpu", True), ("cuda", False)])
def test_attention_of_cudnn_is_avoided_where_there_is_a_gpu(cudnn_attention, device, left):
    avoid_cudnn_attention(torch.device(device))
    assert cudnn_attention() is left


@pytest.mark.parametrize(("device", "left"), [("cpu", True), ("cuda", False)])
def test_it_is_avoided_before_weights_are_loaded(monkeypatch, cudnn_attention, device, left):
    seen = []

    def stop(*_):
        seen.append(cudnn_attention())
        raise InterruptedError

    monkeypatch.setattr(base_model, "pick_device", lambda: torch.device(device))
    monkeypatch.setattr(base_model, "load_weights", stop)
    with pytest.raises(InterruptedError):
        load_base(find_base_model("embedded"), "float32")
    assert seen == [left]


@pytest.mark.gpu
@pytest.mark.parametrize("length", [63, 64, 65, 128, 192, 704])
def test_gradients_of_left_padded_batches_are_finite(cudnn_attention, length):
    model = load_base(find_base_model("embedded"), "bfloat16")
    ids = torch.randint(10, 600, (4, length), device="cuda")
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 1, length // 2, length - 1)):
        mask[row, :padding] = 0
    with torch.autocast("cuda", torch.bfloat16):
        losses = model(input_ids=ids, attention_mask=mask).logits.float().logsumexp(-1)
    losses[mask.bool()].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
