"""Per-sample gradients and importance against one sample at a time in float64."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from lorapar_cli.elements.importance import GradientSums, compute_importance
from lorapar_cli.elements.top_sets import Ranking, TopSetMask, importance_keys
from lorapar_cli.errors import LoraparError
from lorapar_cli.models import data_inits
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.models.data_inits import NEEDS_SAMPLES, InitData
from lorapar_cli.scoring.accumulate import GradientPass, check_packing, make_batches, sum_gradients
from lorapar_cli.scoring.gradients import capture_gradients, scored_values
from tests.scoring.architectures import FAMILIES, build, samples

CPU = torch.device("cpu")


def adapted(family: str, init: str = "orthogonal", **options):
    if init in NEEDS_SAMPLES:
        options["data"] = InitData(samples(), 0)
    return create_adapter(
        build(family),
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES[family][2]),
        init=init,
        seed=0,
        **options,
    ).eval()


def one_by_one(model, chosen) -> dict[str, torch.Tensor]:
    """The definition, in float64: each sample alone, unpadded, its gradient by autograd."""
    model = copy.deepcopy(model).double()
    # Grouped matrix products of experts know no float64; the plain loop over experts does.
    model.get_base_model().config._experts_implementation = "eager"
    parameters = adapter_parameters(model)
    mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
    square = {name: torch.zeros_like(p) for name, p in parameters.items()}
    start = decoder_start_token(model)
    for sample in chosen:
        prompt, completion = (
            sample.input_ids[: sample.prompt_length],
            torch.tensor(sample.input_ids[sample.prompt_length :]),
        )
        if start is None:
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[
                0, len(prompt) - 1 : -1
            ]
        else:
            logits = model(input_ids=torch.tensor([prompt]), labels=completion[None]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, completion)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            mean[name] += gradient / len(chosen)
            square[name] += gradient**2 / len(chosen)
    return {
        name: (mean[name] * p - square[name] * p * p / 2).abs().detach()
        for name, p in parameters.items()
    }


def batched(model, chosen, size: int, side: str) -> dict[str, torch.Tensor]:
    values = adapter_parameters(model)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    membership = torch.empty(0)
    with capture_gradients(model, lambda name, g: sums.add(name, g, membership)) as capture:
        for begin in range(0, len(chosen), size):
            part = chosen[begin : begin + size]
            membership = torch.stack(
                [torch.arange(len(part)) % 2 == half for half in range(2)]
            ).float()
            batch = make_batch(
                part, 0, CPU, BatchLayout(decoder_start_token=decoder_start_token(model)), side
            )
            capture.begin(batch)
            losses = sample_losses(model, batch)
            losses.sum().backward()
            capture.finish()
            sums.add_losses(losses, membership)
    return compute_importance(values, sums, "taylor2")


def scored(
    model, chosen, batch_tokens: int, raw_rank=None, packing=False
) -> tuple[dict, GradientPass, int]:
    values = scored_values(model, raw_rank)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    halves = [index % 2 for index in range(len(chosen))]
    scoring = GradientPass(chosen, halves, sums, batch_tokens, packing)
    shortages = sum_gradients(
        model,
        scoring,
        mine=lambda batches: batches,
        pad_token_id=0,
        raw_rank=raw_rank,
        after_batch=lambda: None,
    )
    return compute_importance(values, sums, "taylor2"), scoring, shortages


def relative_norm(found: dict, expected: dict) -> float:
    assert found.keys() == expected.keys()
    difference = sum(((found[n].double() - expected[n]) ** 2).sum() for n in expected)
    return (difference / sum((value**2).sum() for value in expected.values())).sqrt().item()


def top_set(importance: dict) -> np.ndarray:
    def keys():
        return (importance_keys(importance[n].float().numpy()) for n in sorted(importance))

    picker = TopSetMask(Ranking(keys).by_share([0.9])[0])
    return np.concatenate([picker.pick(vector) for vector in keys()])


@pytest.mark.parametrize("family", FAMILIES)
def test_importance_equals_one_sample_at_a_time(family):
    model, chosen = adapted(family), samples()
    expected = one_by_one(model, chosen)
    assert all(value.any() for value in expected.values())
    for size, side in ((1, "right"), (4, "right"), (9, "right"), (4, "left"), (9, "left")):
        assert relative_norm(batched(model, chosen, size, side), expected) < 1e-5
    for batch_tokens in (1, 30, 10_000):
        found, _, _ = scored(model, chosen, batch_tokens)
        assert relative_norm(found, expected) < 1e-5
        assert (top_set(found) == top_set(expected)).all()
    if decoder_start_token(model) is None:
        check_packing(model, chosen, 0)
        for batch_tokens in (1, 30, 10_000):
            found, _, _ = scored(model, chosen, batch_tokens, packing=True)
            assert relative_norm(found, expected) < 1e-5
            assert (top_set(found) == top_set(expected)).all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["mistral", "gemma3", "gpt2"])
def test_packed_samples_are_apart_under_every_attention(family, attention):
    model, chosen = adapted(family), samples()
    expected, _, _ = scored(model, chosen, 1)
    model.get_base_model().set_attn_implementation(attention)
    found, _, _ = scored(model, chosen, 10_000, packing=True)
    assert relative_norm(found, expected) < 2e-6


def test_packed_rows_are_within_the_tokens_allowed():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout(packing=True))
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    sizes = [sum(len(chosen[i].input_ids) for i in batch) for batch in batches]
    assert max(sizes) <= 40
    # A row ends only where the next sample would not have fitted.
    following = [len(chosen[batch[0]].input_ids) for batch in batches[1:]]
    assert all(size + more > 40 for size, more in zip(sizes, following, strict=False))
    batch = make_batch([chosen[i] for i in batches[0]], 0, CPU, BatchLayout(packing=True))
    assert batch.inputs.keys() == {"input_ids", "position_ids"}
    assert batch.inputs["input_ids"].shape == (1, sizes[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "phi", "gpt2", "mixtral"])
def test_rounding_is_not_taken_for_mixing(family, dtype):
    base = build(family).to(dtype)
    targets = list(FAMILIES[family][2])
    model = create_adapter(
        base, r=4, lora_alpha=8, target_modules=targets, init="orthogonal", seed=0
    ).eval()
    for count in (2, 9):
        check_packing(model, samples(count), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_models_that_mix_packed_samples_are_refused(family, dtype):
    torch.manual_seed(0)
    config = {
        "bloom": transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
        "mamba": transformers.MambaConfig(
            vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4
        ),
    }[family]
    base = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    target = {"bloom": "query_key_value", "mamba": "in_proj"}[family]
    model = create_adapter(
        base, r=4, lora_alpha=8, target_modules=[target], init="orthogonal", seed=0
    ).eval()
    for count in (2, 9):
        with pytest.raises(LoraparError, match="does not keep samples apart") as raised:
            check_packing(model, samples(count), 0)
        assert "--packing" in raised.value.hint
    if dtype is torch.float32:
        assert relative_norm(scored(model, samples(), 30)[0], scored(model, samples(), 1)[0]) < 1e-5


def test_only_predicted_positions_have_logits():
    model, chosen = adapted("llama"), samples()
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    logits = prediction_logits(model, batch)
    assert logits.shape[0] == sum(sample.completion_length for sample in chosen)
    full = model(**batch.inputs).logits[batch.rows, batch.columns]
    torch.testing.assert_close(logits, full)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_base_changing_inits_leave_base_and_function_alone(family, init):
    weights = {name: w.clone() for name, w in build(family).state_dict().items()}
    model, chosen = adapted(family, init), samples()
    base = {n.replace(".base_layer", ""): w for n, w in model.get_base_model().state_dict().items()}
    assert all(torch.equal(base[name], weight) for name, weight in weights.items())
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    with model.disable_adapter():
        before = prediction_logits(model, batch)
    torch.testing.assert_close(prediction_logits(model, batch), before, atol=1e-5, rtol=1e-5)
    expected = one_by_one(model, chosen)
    halves = {n: v[:4] if ".lora_A" in n else v[:, :4] for n, v in expected.items()}
    for packing in (False, True):
        found, _, _ = scored(model, chosen, 30, raw_rank=4, packing=packing)
        assert relative_norm(found, halves) < 1e-5


def test_pissa_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model

    own = scored_values(adapted("llama", "pissa"), 4)
    peft = get_peft_model(
        build("llama"),
        LoraConfig(
            r=4, lora_alpha=8, target_modules=list(FAMILIES["llama"][2]), init_lora_weights="pissa"
        ),
    )
    for name, value in adapter_parameters(peft).items():
        torch.testing.assert_close(own[name], value)


def test_corda_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    own = scored_values(adapted("gpt2", "corda"), 4)
    base = build("gpt2")
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["gpt2"][2]),
        init_lora_weights="corda",
        corda_config=CordaConfig(),
        fan_in_fan_out=True,
    )
    preprocess_corda(
        base, config, lambda: [base(torch.tensor([sample.input_ids])) for sample in samples()]
    )
    for name, value in adapter_parameters(get_peft_model(base, config)).items():
        # PEFT's order of the last three of four directions of equal weight is by rounding.
        torch.testing.assert_close(own[name], value, rtol=1e-3, atol=1e-4)


def test_lora_ga_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.config import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    own = scored_values(adapted("llama", "lora_ga"), 4)
    base = build("llama")
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["llama"][2]),
        init_lora_weights="lora_ga",
        lora_ga_config=LoraGAConfig(),
    )

    def step():
        for sample in samples():
            ids = torch.tensor([sample.input_ids])
            labels = ids.clone()
            labels[0, : sample.prompt_length] = -100
            base(ids, labels=labels).loss.backward()

    preprocess_loraga(base, config, step)
    for name, value in adapter_parameters(get_peft_model(base, config)).items():
        # The directions' signs are drawn.
        largest = value.abs().max()
        difference = (own[name].abs() - value.abs()).abs().max() / largest
        assert difference < 1e-2, name


@pytest.mark.parametrize("init", ["corda", "lora_ga", "eva"])
@pytest.mark.parametrize("family", ["qwen2_moe", "t5"])
def test_data_inits_leave_nothing_behind_in_the_base(family, init):
    if (family, init) == ("t5", "eva"):
        with pytest.raises(LoraparError, match="encoder-decoder"):
            adapted(family, init)
        return
    model = adapted(family, init)
    attributes = {name for module in model.modules() for name in vars(module)}
    assert not attributes & {"eigens", "_peft_loraga_grad", "covariance_matrix"}
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    values = adapter_parameters(model)
    assert all(
        value.any() == (".lora_A" in name or init != "eva") for name, value in values.items()
    )


def test_eva_that_does_not_settle_is_an_error(monkeypatch):
    monkeypatch.setattr(data_inits, "_EVA_PASSES", 1)
    with pytest.raises(LoraparError, match="did not converge"):
        adapted("llama", "eva")


def test_eva_takes_the_directions_of_most_variance():
    """Against the SVD of all inputs of a matrix."""
    base, seen = build("llama"), []
    handle = base.model.layers[1].mlp.down_proj.register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0][0])
    )
    for sample in samples():
        base(torch.tensor([sample.input_ids]))
    handle.remove()
    inputs = torch.cat(seen)
    directions = torch.linalg.svd(inputs - inputs.mean(0)).Vh[:4]
    (found,) = (
        value
        for name, value in adapter_parameters(adapted("llama", "eva")).items()
        if "layers.1.mlp.down_proj.lora_A" in name
    )
    assert (torch.linalg.svdvals(found @ directions.T) > 0.9).all()


@pytest.mark.parametrize("init", ["corda", "lora_ga"])
def test_a_rank_beyond_the_matrices_is_an_error(init):
    with pytest.raises(LoraparError, match=f"init `{init}`"):
        create_adapter(
            build("llama"),
            r=40,
            lora_alpha=8,
            target_modules=["q_proj"],
            init=init,
            seed=0,
            data=InitData(samples(), 0),
        )


def test_gaussian_with_a_scale_draws_both_matrices():
    values = adapter_parameters(adapted("llama", "gaussian", init_scale=0.01))
    drawn = torch.cat([value.flatten() for value in values.values()])
    assert drawn.std().item() == pytest.approx(0.01, rel=0.1)
    assert all(value.all() for value in values.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonal_leaves_the_function_alone_in_every_dtype(dtype):
    model = create_adapter(
        build("llama").to(dtype),
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["llama"][2]),
        init="orthogonal",
        seed=0,
    )
    values = adapter_parameters(model)
    for name, a in values.items():
        assert a.dtype == torch.float32
        assert a.all()
        if ".lora_A" in name:
            b = values[name.replace(".lora_A", ".lora_B")]
            assert (b @ a).abs().max() < 1e-6


def test_orthogonal_refuses_an_odd_rank():
    with pytest.raises(LoraparError, match="even rank"):
        create_adapter(
            build("llama"), r=3, lora_alpha=8, target_modules=["q_proj"], init="orthogonal", seed=0
        )


def test_a_target_that_matches_nothing_lists_what_there_is():
    with pytest.raises(LoraparError, match="c_attn") as raised:
        create_adapter(
            build("llama"), r=4, lora_alpha=8, target_modules=["c_attn"], init="orthogonal", seed=0
        )
    assert "q_proj" in raised.value.found


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


@pytest.mark.parametrize("packing", [False, True])
def test_running_out_of_memory_halves_the_batch_and_changes_no_number(monkeypatch, packing):
    model, chosen = adapted("llama"), samples()
    expected, _, none = scored(model, chosen, 10_000, packing=packing)
    assert none == 0
    add, calls = GradientSums.add, SimpleNamespace(count=0)

    def short_of_memory(sums, name, gradients, membership):
        calls.count += 1
        # In the middle of the first backward pass, when some matrices have been added.
        if calls.count == 5:
            raise torch.OutOfMemoryError("out of memory")
        add(sums, name, gradients, membership)

    monkeypatch.setattr(GradientSums, "add", short_of_memory)
    found, scoring, shortages = scored(model, chosen, 10_000, packing=packing)
    assert shortages == 1
    assert scoring.sums.samples == len(chosen)
    assert relative_norm(found, expected) < 1e-6


def test_one_sample_that_does_not_fit_is_an_error(monkeypatch):
    def fail(*_arguments):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("lorapar_cli.scoring.accumulate.sample_losses", fail)
    with pytest.raises(LoraparError, match="one sample alone"):
        scored(adapted("llama"), samples(2), 10_000)


def test_other_errors_are_not_taken_for_a_shortage(monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("lorapar_cli.scoring.accumulate.sample_losses", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        scored(adapted("llama"), samples(2), 10_000)


def test_a_matrix_used_twice_or_not_at_all():
    model, chosen = adapted("llama"), samples(4)
    layers = model.get_base_model().model.layers
    layers[1].mlp = layers[0].mlp
    expected = one_by_one(model, chosen)
    found, _, _ = scored(model, chosen, 10_000)
    assert relative_norm({n: v for n, v in found.items() if n in expected}, expected) < 1e-5


def test_batches_of_an_encoder_decoder_are_bounded_by_both_stacks():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout(decoder_start_token=0))
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    for indices in batches:
        batch = make_batch([chosen[i] for i in indices], 0, CPU, BatchLayout(decoder_start_token=0))
        padded = batch.inputs["input_ids"].numel() + batch.inputs["decoder_input_ids"].numel()
        assert padded <= 40
    assert any(len(batch) > 1 for batch in batches)


def test_batches_are_sorted_by_length_and_bounded():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout())
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    lengths = [[len(chosen[i].input_ids) for i in batch] for batch in batches]
    assert all(max(batch) * len(batch) <= 40 for batch in lengths)
    assert [n for batch in lengths for n in batch] == sorted(
        (n for b in lengths for n in b), reverse=True
    )


def test_trainable_parameters_are_trainable_again_afterwards():
    model = adapted("llama")
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    batched(model, samples(2), 2, "right")
    assert before == {n: p.requires_grad for n, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
