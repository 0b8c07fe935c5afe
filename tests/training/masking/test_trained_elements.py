"""The contract of `TrainedElements`, for each implementation in one process."""

from types import SimpleNamespace

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.masking.active_elements import ActiveElements
from lorapar_cli.training.masking.sharded_masking import ShardedElements, whole_values


class Matrices(torch.nn.Module):
    """Two matrices, of which a loss pulls on every element."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = torch.nn.Parameter(torch.randn(4, 33, generator=generator))
        self.b = torch.nn.Parameter(torch.randn(7, 5, generator=generator))

    def forward(self) -> torch.Tensor:
        return sum(((p - 3) ** 2).sum() for p in (self.a, self.b))


@pytest.fixture
def one_process_group(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def vectors(model, active, start):
    return ActiveElements(dict(model.named_parameters()), active)


def fsdp2(model, active, start):
    elements = ShardedElements(Engine.FSDP2, dict(model.named_parameters()), active, start)
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    elements.find_shards(dict(model.named_parameters()), fresh=True)
    return elements


def zero2(model, active, start):
    """Differs from DeepSpeed: the float32 partition is the matrix itself, not a copy."""
    parameters = dict(model.named_parameters())
    elements = ShardedElements(Engine.ZERO2, parameters, active, start)
    for parameter in parameters.values():
        address = SimpleNamespace(start=0, numel=parameter.numel())
        flat = parameter.data.view(-1)
        parameter._hp_mapping = SimpleNamespace(hp_fragment=flat, lp_fragment_address=address)
    elements.find_shards(parameters, fresh=True)
    for parameter in parameters.values():
        del parameter._hp_mapping
    return elements


@pytest.mark.usefixtures("one_process_group")
@pytest.mark.parametrize("make", [vectors, fsdp2, zero2])
def test_steps_move_every_active_element_and_no_frozen_one(make):
    model = Matrices()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    active = {
        n: torch.rand(p.shape, generator=torch.manual_seed(1)) < 0.4 for n, p in start.items()
    }
    elements = make(model, active, start)
    optimizer = torch.optim.AdamW(elements.values, lr=0.1, weight_decay=0.5)
    for _ in range(3):
        model.zero_grad()
        before = whole_values(dict(model.named_parameters()))
        model().backward()
        elements.gather()
        norm = torch.nn.utils.clip_grad_norm_(elements.values, 0.1)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        # The gradient of (p - 3)^2, of active elements alone.
        wanted = sum(((2 * (before[n] - 3))[active[n]] ** 2).sum() for n in before).sqrt()
        assert float(norm) == pytest.approx(float(wanted), rel=1e-5)
        optimizer.step()
        elements.scatter()
    after = whole_values(dict(model.named_parameters()))
    for name, values in after.items():
        assert torch.equal(values.view(torch.int32) != start[name].view(torch.int32), active[name])
    elements.scatter()
    again = whole_values(dict(model.named_parameters()))
    assert all(torch.equal(again[name], after[name]) for name in after)
