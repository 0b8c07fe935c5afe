"""Models of others: whole, finite, or refused with the file and the cause; nothing hangs."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.safe_loading import check_template
from tests.conftest import CHAT_TEMPLATE


@pytest.fixture
def folder(tmp_path, tiny_model_dir):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refuse(folder) -> LoraparError:
    with pytest.raises(LoraparError) as caught:
        load_base(find_base_model(str(folder)))
    return caught.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 3}, "no weights for"),
        ({"num_hidden_layers": 1}, "does not use"),
        ({"vocab_size": 300}, "cannot load base model"),
        ({"hidden_size": 64}, "cannot load base model"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(folder, changes, words):
    change_config(folder, **changes)
    assert words in refuse(folder).what


def test_more_layers_than_tensors_are_refused_before_any_is_built(folder):
    change_config(folder, num_hidden_layers=10**7)
    error = refuse(folder)
    assert "do not fit its `config.json`" in error.what
    # Two layers of nine tensors, embeddings, norm and head.
    assert error.found == "10,000,000 layers, 21 tensors"


@pytest.mark.parametrize("positions", [0, -5])
def test_a_model_without_positions_is_refused(folder, positions):
    change_config(folder, max_position_embeddings=positions)
    assert "has no positions" in refuse(folder).what


def test_whole_numbers_are_no_weights(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = weights[name].to(torch.int64)
    save_file(weights, path, metadata={"format": "pt"})
    assert refuse(folder).found == f"`{name}` in `model.safetensors` has the type I64"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_number_that_is_not_finite_is_found(folder, value):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name][3, 5] = value
    save_file(weights, path, metadata={"format": "pt"})
    assert name in refuse(folder).found


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert refuse(folder).what == f"`{path}` is not a safetensors file"


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    error = refuse(folder)
    assert "pickled" in error.what
    assert "save_pretrained" in error.hint


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_named_pipe_in_the_folder_does_not_hang(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert name in refuse(folder).what


@pytest.mark.parametrize("content", ["null", "[]", "{", "[" * 100_000, '{"model_type": 3}'])
def test_a_damaged_configuration_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(LoraparError):
        find_base_model(str(folder))


@pytest.mark.parametrize(
    "place", ["../elsewhere.safetensors", "/etc/passwd", 3, "missing.safetensors"]
)
def test_an_index_stays_in_its_folder(folder, place):
    index = {"metadata": {}, "weight_map": {"lm_head.weight": place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    error = refuse(folder)
    assert "index" in error.what or "missing.safetensors" in error.what


@pytest.mark.parametrize("content", ["null", "{}", "[" * 100_000, "{"])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(LoraparError, match="tokenizer"):
        load_tokenizer(find_base_model(str(folder)))


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**11 }}",
    ],
)
def test_templates_without_an_end_are_refused_in_time(template):
    with pytest.raises(LoraparError, match="the chat template cannot be used"):
        check_template(template)


@pytest.mark.parametrize(
    "template", [CHAT_TEMPLATE, "{{ raise_exception('no') }}", "{{ messages[7].content.x.y }}"]
)
def test_templates_that_end_pass_whatever_they_refuse(template):
    check_template(template)


def test_an_intact_folder_loads_to_the_same_weights(folder):
    ours = load_base(find_base_model(str(folder)), "float32").state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
