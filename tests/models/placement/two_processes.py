"""What each of two processes checks of a sharded base model; run by `test_sharding`."""

import sys
from pathlib import Path

import pytest
import torch

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.batches import BatchLayout, least_sample, make_batch, sample_losses
from lorapar_cli.models.distributed import join_processes
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.models.placement.sharding import in_step, is_sharded, shard_base, whole_tensor
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
from tests.scoring import architectures
from tests.scoring.architectures import FAMILIES, build, samples

SAMPLES = [Encoded([5, 9, 11, 7, 30], 2), Encoded([8, 8, 3], 1)]


def adapted(base):
    return create_adapter(
        base, r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init="orthogonal", seed=0
    ).eval()


def gradients(model):
    batch = make_batch(SAMPLES, 0, torch.device("cpu"), BatchLayout())
    parameters = list(adapter_parameters(model).values())
    losses = sample_losses(model, batch)
    return losses, torch.autograd.grad(losses.sum(), parameters)


def check(folder: str) -> None:
    """Raises AssertionError where the sharded model is not the whole one."""
    processes = join_processes()
    base = find_base_model(folder)
    whole = load_base(base)
    sharded = load_placed(base, Placement(processes))
    assert is_sharded(sharded)
    assert not is_sharded(whole)
    for (name, expected), found in zip(whole.named_parameters(), sharded.parameters(), strict=True):
        assert found.to_local().numel() <= expected.numel() / 2, name
        assert not found.requires_grad
        assert torch.equal(whole_tensor(found), expected), name

    models = adapted(whole), adapted(sharded)
    assert is_sharded(models[1])
    expected, found = (gradients(model) for model in models)
    assert torch.equal(found[0], expected[0])
    for one, two in zip(found[1], expected[1], strict=True):
        assert one.any()
        assert torch.equal(one, two)

    passes = []
    least = make_batch([least_sample(0)], 0, torch.device("cpu"), BatchLayout())

    def idle():
        passes.append("idle")
        sample_losses(models[1], least).sum().backward()

    # Process 0 has three passes, process 1 none, and afterwards both are where they began.
    with in_step(models[1], idle):
        for _ in range(0 if processes.rank else 3):
            passes.append("own")
            again = gradients(models[1])
            assert torch.equal(again[0], expected[0])
    assert passes == (["idle"] * 3 if processes.rank else ["own"] * 3)
    with in_step(models[1]), torch.inference_mode():
        if processes.rank:
            sample_losses(models[1], least)
    processes.wait()

    nameless = load_base(base)
    nameless._no_split_modules = None
    with pytest.raises(LoraparError, match="cannot be sharded"):
        shard_base(nameless, 2, torch.device("cpu"))
    check_families()
    Path(sys.argv[2], f"passed-{processes.rank}").touch()


def check_families() -> None:
    """Raises AssertionError where a sharded family's sums of per-sample gradients differ."""
    batch = samples(5)
    for family in FAMILIES:
        sums = []
        for base in (build(family), shard_base(build(family), 2, torch.device("cpu"))):
            model = architectures.adapted(family, base=base)
            sizes = {name: p.numel() for name, p in adapter_parameters(model).items()}
            sums.append(GradientSums(sizes))
            sum_gradients(
                model,
                GradientPass(batch, [0, 1, 0, 1, 0], sums[-1], 0),
                mine=lambda every: every,
                pad_token_id=0,
                raw_rank=None,
                after_batch=lambda: None,
            )
        whole, shared = (each.flat for each in sums)
        if family == "t5":
            # What its decoder's layers add to the gradient of the encoder is added in another order.
            assert (shared - whole).norm() < 1e-6 * whole.norm()
        else:
            assert torch.equal(shared, whole), family
        assert whole.any()


if __name__ == "__main__":
    check(sys.argv[1])
