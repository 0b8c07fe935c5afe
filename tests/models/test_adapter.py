"""Adapters: created on targets that exist, saved and loaded as plain PEFT folders."""

import json

import pytest
import torch
import transformers
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import safe_loading
from lorapar_cli.models.adapter import (
    adapter_parameters,
    create_adapter,
    load_adapter,
    model_fingerprint,
    read_adapter_config,
    read_lora_config,
    save_adapter,
    save_raw_adapter,
)
from lorapar_cli.store.tensor_files import layout_fingerprint
from tests.scoring.architectures import adapted, build


def test_a_target_that_matches_nothing_lists_what_there_is():
    with pytest.raises(LoraparError, match="c_attn") as raised:
        create_adapter(
            build("llama"), r=4, lora_alpha=8, target_modules=["c_attn"], init="orthogonal", seed=0
        )
    assert "q_proj" in raised.value.found


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]])
def test_the_output_head_is_refused_before_anything_is_scored(targets):
    with pytest.raises(LoraparError, match="output head: `lm_head`") as raised:
        create_adapter(
            build("llama"), r=4, lora_alpha=8, target_modules=targets, init="orthogonal", seed=0
        )
    assert "choose from down_proj," in raised.value.hint
    assert "lm_head" not in raised.value.hint


@pytest.mark.parametrize("targets", [["gate_proj"], ["gate_proj", "up_proj"], ["w1"]])
@pytest.mark.parametrize("dense", [[], [0]])
def test_targets_in_stacked_experts_are_refused_with_the_reason(targets, dense):
    # Where a dense layer has a `gate_proj` too, PEFT would take the name for the experts.
    config = transformers.Qwen3MoeConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_experts=4,
        num_experts_per_tok=2,
        head_dim=8,
        mlp_only_layers=dense,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(LoraparError) as raised:
        create_adapter(
            model,
            r=4,
            lora_alpha=8,
            target_modules=["q_proj", *targets],
            init="orthogonal",
            seed=0,
        )
    assert "experts are 3-D tensors" in raised.value.found
    assert targets[0] in raised.value.what + raised.value.found


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(4, 20).unsqueeze(0)).logits


def randomised(init="orthogonal"):
    """Returns an adapted Llama whose adapter moves the logits."""
    model = adapted("llama", init)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def test_the_same_seed_draws_the_same_adapter():
    first, second = (adapter_parameters(adapted("llama")) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_names_are_those_of_the_file_and_sorted(tmp_path):
    model = adapted("llama")
    save_adapter(model, tmp_path)
    names = list(adapter_parameters(model))
    assert names == sorted(load_file(tmp_path / "adapter_model.safetensors"))
    shapes = {name: tuple(p.shape) for name, p in adapter_parameters(model).items()}
    assert model_fingerprint(model) == layout_fingerprint(shapes)


def test_a_saved_adapter_is_loaded_on_the_unmodified_base(tmp_path):
    trained = randomised("gaussian")
    expected = logits(trained)
    save_adapter(trained, tmp_path)
    assert trained.peft_config["default"].init_lora_weights == "gaussian", "restored after saving"
    for loaded in (
        load_adapter(build("llama"), tmp_path, trainable=True),
        PeftModel.from_pretrained(build("llama"), tmp_path),
    ):
        torch.testing.assert_close(logits(loaded), expected)
    assert not torch.allclose(expected, logits(build("llama")), atol=1e-3)


def test_given_values_are_saved_in_place_of_the_models(tmp_path):
    model = adapted("llama")
    values = {name: p.detach() + 1 for name, p in adapter_parameters(model).items()}
    save_adapter(model, tmp_path, values)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all((saved[name] == value.numpy()).all() for name, value in values.items())


@pytest.mark.parametrize("trainable", [False, True])
def test_parameters_train_only_where_asked(tmp_path, trainable):
    save_adapter(adapted("llama"), tmp_path)
    loaded = load_adapter(build("llama").bfloat16(), tmp_path, trainable=trainable, dropout=0.25)
    parameters = adapter_parameters(loaded)
    assert {p.requires_grad for p in parameters.values()} == {trainable}
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    rates = {m.p for m in loaded.modules() if isinstance(m, torch.nn.Dropout) and m.p}
    assert rates == {0.25}


def test_the_raw_part_has_half_of_the_rank(tmp_path):
    model = adapted("llama", "pissa")
    save_raw_adapter(model, 4, tmp_path)
    raw = load_file(tmp_path / "adapter_model.safetensors")
    for name, parameter in adapter_parameters(model).items():
        expected = parameter[:4] if ".lora_A" in name else parameter[:, :4]
        assert (raw[name] == expected.detach().numpy()).all()
    config, whole = read_lora_config(tmp_path), model.peft_config["default"]
    assert (config.r, config.lora_alpha) == (4, 8)
    assert (whole.r, whole.lora_alpha) == (8, 16)


def test_an_adapter_of_another_base_is_refused(tmp_path):
    save_adapter(adapted("llama"), tmp_path)
    with pytest.raises(LoraparError, match="does not fit the base model"):
        load_adapter(build("gpt2"), tmp_path, trainable=False)


def test_a_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(LoraparError, match="no adapter in"):
        read_adapter_config(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": ')
    with pytest.raises(LoraparError, match="is not valid JSON"):
        read_adapter_config(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "NONE"}')
    with pytest.raises(LoraparError, match="is damaged"):
        read_adapter_config(tmp_path)


def test_an_adapter_of_another_kind_is_not_lora(tmp_path):
    IA3Config(task_type="CAUSAL_LM").save_pretrained(tmp_path)
    assert read_adapter_config(tmp_path).peft_type == "IA3"
    with pytest.raises(LoraparError, match="is not a LoRA adapter"):
        read_lora_config(tmp_path)


def test_an_adapter_with_more_than_lora_matrices_is_refused():
    config = LoraConfig(target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM")
    with pytest.raises(LoraparError, match="more than LoRA matrices"):
        adapter_parameters(get_peft_model(build("llama"), config))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"bias": "lora_only"}, "biases (`bias: lora_only`)"),
        ({"use_dora": True}, "DoRA's magnitudes (`use_dora`)"),
        ({"modules_to_save": ["lm_head"]}, "whole modules (`modules_to_save`)"),
    ],
)
def test_a_folder_with_more_than_lora_matrices_is_named(tmp_path, changes, found):
    save_adapter(adapted("llama"), tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(LoraparError, match=f"`{tmp_path}` contains more") as caught:
        read_lora_config(tmp_path)
    assert found in caught.value.found


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "rank_pattern"])
def test_patterns_without_an_end_or_that_do_not_compile_are_refused(tmp_path, monkeypatch, field):
    monkeypatch.setattr(safe_loading, "_PATTERN_SECONDS", 2)
    save_adapter(adapted("llama"), tmp_path)
    for pattern in ("(.*)*(.*)*(.*)*(.*)*(.*)*x!", "(("):
        change_config(tmp_path, **{field: {pattern: 4} if field == "rank_pattern" else pattern})
        with pytest.raises(LoraparError, match=f"`{tmp_path}` has a pattern of modules"):
            load_adapter(build("llama"), tmp_path, trainable=False)


def test_a_pattern_that_ends_chooses_modules(tmp_path):
    save_adapter(adapted("llama"), tmp_path)
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    change_config(tmp_path, target_modules=rf".*\.({'|'.join(names)})")
    loaded = load_adapter(build("llama"), tmp_path, trainable=False)
    assert adapter_parameters(loaded).keys() == adapter_parameters(adapted("llama")).keys()


def change_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("init", ["corda", "lora_ga", "eva", "loftq"])
def test_an_init_without_its_data_is_an_error(init):
    arguments = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "init": init, "seed": 0}
    with pytest.raises(LoraparError, match=f"init `{init}`") as raised:
        create_adapter(build("llama"), **arguments)
    assert "needs" in raised.value.found
