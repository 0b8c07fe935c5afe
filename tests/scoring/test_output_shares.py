"""Output shares against the definition: each sample alone, unpadded, in float64."""

import copy

import pytest
import torch

from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.batches import decoder_start_token
from lorapar_cli.models.distributed import Processes
from lorapar_cli.scoring.gradients import scored_values
from lorapar_cli.scoring.output_shares import OutputShares, sum_outputs
from tests.scoring.architectures import adapted, samples


def summed(model, chosen, raw_rank=None, batch_tokens=60, packing=False, processes=None):
    values = scored_values(model, raw_rank)
    sums = OutputShares({name: phi.shape[0] for name, phi in values.items()}, raw_rank)
    sizes = []
    sum_outputs(
        model,
        chosen,
        sums,
        batch_tokens=batch_tokens,
        packing=packing,
        processes=processes or Processes(0, 1),
        pad_token_id=0,
        after_batch=sizes.append,
    )
    return sums, sizes


def by_definition(model, chosen, raw_rank=None) -> dict[str, torch.Tensor]:
    """Averages over every token of every sample: A times its input, and the module's output."""
    model = copy.deepcopy(model).double()
    seen = {name: [] for name in adapter_parameters(model)}

    def keep(name, place):
        return lambda _module, *passed: seen[name].append(
            (passed[0][0], passed[1])[place].detach().flatten(0, -2)
        )

    for name, module in model.named_modules():
        if name.endswith(".lora_A.default"):
            module.register_forward_hook(keep(name.removesuffix(".default") + ".weight", 0))
            wrapped = model.get_submodule(name.removesuffix(".lora_A.default"))
            wrapped.register_forward_hook(
                keep(name.removesuffix(".lora_A.default") + ".lora_B.weight", 1)
            )
    start = decoder_start_token(model)
    with torch.no_grad():
        for sample in chosen:
            if start is None:
                model(input_ids=torch.tensor([sample.input_ids]))
            else:
                prompt, completion = (
                    torch.tensor([sample.input_ids[: sample.prompt_length]]),
                    torch.tensor([sample.input_ids[sample.prompt_length :]]),
                )
                model(input_ids=prompt, labels=completion)
    shares = {}
    for name, phi in adapter_parameters(model).items():
        outputs = torch.cat(seen[name])
        if "lora_A" in name:
            outputs = outputs @ phi[:raw_rank].T
        outputs = outputs.abs()
        shares[name] = (outputs / outputs.sum(1, keepdim=True)).mean(0).detach()
    return shares


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_shares_equal_the_definition(family):
    model, chosen = adapted(family), samples()
    expected = by_definition(model, chosen)
    for packing in (False, True) if family != "t5" else (False,):
        sums, sizes = summed(model, chosen, packing=packing)
        assert sum(sizes) == len(chosen)
        for name, share in sums.means().items():
            torch.testing.assert_close(share, expected[name], rtol=1e-4, atol=1e-7)
            assert share.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_raw_half_of_a_rank_2r_adapter_counts_alone(init):
    model, chosen = adapted("llama", init), samples()
    expected = by_definition(model, chosen, raw_rank=4)
    sums, _ = summed(model, chosen, raw_rank=4)
    for name, share in sums.means().items():
        torch.testing.assert_close(share, expected[name], rtol=1e-4, atol=1e-7)


def test_processes_share_the_samples_and_their_sums_add_up():
    model, chosen = adapted("llama"), samples()
    whole, _ = summed(model, chosen)
    parts = []
    for rank in range(2):
        share = Processes(rank, 2)
        object.__setattr__(share, "add_up", lambda tensor: None)
        parts.append(summed(model, chosen, processes=share)[0])
    assert all(part.tokens.all() for part in parts)
    torch.testing.assert_close(parts[0].flat + parts[1].flat, whole.flat)
    torch.testing.assert_close(parts[0].tokens + parts[1].tokens, whole.tokens)


@pytest.mark.parametrize("init", ["default", "gaussian"])
def test_b_has_shares_where_it_is_zero(init):
    model, chosen = adapted("llama", init), samples()
    expected = by_definition(model, chosen)
    for name, share in summed(model, chosen)[0].means().items():
        assert share.sum().item() == pytest.approx(1)
        torch.testing.assert_close(share, expected[name], rtol=1e-4, atol=1e-7)


def test_a_matrix_without_outputs_has_no_share():
    model, chosen = adapted("llama"), samples()
    with torch.no_grad():
        for name, parameter in adapter_parameters(model).items():
            parameter.mul_("lora_B" in name)
    for name, share in summed(model, chosen)[0].means().items():
        assert share.any() == ("lora_B" in name)
