"""Parts of divided matrices: FSDP2's on two real processes, DeepSpeed's by their addresses.

DeepSpeed itself is in `tests/training/test_train_sharded.py`.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.store.tensor_files import read_tensors, write_tensors
from lorapar_cli.training.masking.sharded_masking import (
    ShardedElements,
    _padded_part,
    whole_values,
)

# An odd number of rows, fewer rows than processes, and a matrix that is frozen whole.
SHAPES = {"a": (7, 5), "b": (1, 6), "c": (4, 3)}
ADAMW = {"lr": 0.1, "weight_decay": 0.5}
STEPS = 3


class Matrices(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, values in start_values().items():
            setattr(self, name, torch.nn.Parameter(values))

    def forward(self) -> torch.Tensor:
        return sum((getattr(self, name) ** 3).sum() for name in SHAPES)


def start_values():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def random_mask():
    generator = torch.Generator().manual_seed(1)
    active = {n: torch.rand(shape, generator=generator) < 0.5 for n, shape in SHAPES.items()}
    return active | {"c": torch.zeros(SHAPES["c"], dtype=torch.bool)}


def train_divided(rank: int, folder: Path) -> None:
    """What one of two processes does; the first writes the gathered matrices."""
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = Matrices()
    elements = ShardedElements(
        Engine.FSDP2, dict(model.named_parameters()), random_mask(), start_values()
    )
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    elements.find_shards(dict(model.named_parameters()), fresh=True)
    optimizer = torch.optim.AdamW(elements.values, **ADAMW)
    for _ in range(STEPS):
        model.zero_grad()
        model().backward()
        elements.gather()
        optimizer.step()
        elements.scatter()
    after = whole_values(dict(model.named_parameters()))
    if rank == 0:
        arrays = {name: tensor.numpy() for name, tensor in after.items()}
        write_tensors(folder / "after.safetensors", arrays, {})
    # A process that leaves while the other one still writes may be aborted by its threads of gloo.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_fsdp2_processes_step_as_adamw_on_active_elements_alone(tmp_path):
    torch.multiprocessing.spawn(train_divided, (tmp_path,), nprocs=2)
    after, _ = read_tensors(tmp_path / "after.safetensors")
    start, active = start_values(), random_mask()
    vectors = {n: torch.nn.Parameter(start[n][active[n]]) for n in ("a", "b")}
    reference = torch.optim.AdamW(vectors.values(), **ADAMW)
    for _ in range(STEPS):
        reference.zero_grad()
        sum((values**3).sum() for values in vectors.values()).backward()
        reference.step()
    for name in SHAPES:
        found = torch.from_numpy(after[name])
        frozen = ~active[name]
        assert torch.equal(found[frozen].view(torch.int32), start[name][frozen].view(torch.int32))
        if name in vectors:
            torch.testing.assert_close(found[active[name]], vectors[name].detach())


def test_fsdp2_that_left_a_matrix_whole_is_a_defect():
    parameters = {"a": torch.nn.Parameter(torch.ones(2, 2))}
    active = {"a": torch.ones(2, 2, dtype=torch.bool)}
    elements = ShardedElements(Engine.FSDP2, parameters, active, {"a": torch.ones(2, 2)})
    with pytest.raises(AssertionError, match="whole"):
        elements.find_shards(parameters, fresh=True)


@pytest.mark.parametrize("engine", [Engine.ZERO2, Engine.ZERO3])
def test_deepspeed_gets_gradients_that_are_masked_in_the_backward_pass(engine):
    parameters, active = {"a": torch.nn.Parameter(start_values()["a"])}, random_mask()
    ShardedElements(engine, parameters, active, start_values())
    (parameters["a"] * 2).sum().backward()
    assert torch.equal(parameters["a"].grad, torch.where(active["a"], 2.0, 0.0))


def fragment(first: int, count: int, values: torch.Tensor) -> SimpleNamespace:
    """Stands for what DeepSpeed notes on a parameter: where its part lies, and the part."""
    address = SimpleNamespace(start=first, numel=count)
    part = values.flatten()[first : first + count].clone()
    return SimpleNamespace(hp_fragment=part, lp_fragment_address=address)


def test_zero2_restores_the_elements_of_its_part_by_their_address():
    start, active = start_values(), random_mask()
    parameters = {name: torch.nn.Parameter(values) for name, values in start_values().items()}
    elements = ShardedElements(Engine.ZERO2, parameters, active, start)
    # This process holds the end of `a` and the whole of `b`; `c` lies in another.
    parameters["a"]._hp_mapping = fragment(11, 24, start["a"])
    parameters["b"]._hp_mapping = fragment(0, 6, start["b"])
    parameters["c"]._hp_mapping = None
    elements.find_shards(parameters, fresh=False)
    for name in ("a", "b"):
        parameters[name]._hp_mapping.hp_fragment.add_(1)
    elements.scatter()
    for name, first in (("a", 11), ("b", 0)):
        wanted = torch.where(active[name], start[name] + 1, start[name]).flatten()[first:]
        assert torch.equal(parameters[name]._hp_mapping.hp_fragment, wanted)


@pytest.mark.parametrize("fresh", [True, False])
def test_rounded_copies_get_the_starting_values_again_where_training_starts(fresh):
    start, active = start_values(), random_mask()
    parameters = {"a": torch.nn.Parameter(start["a"].clone())}
    elements = ShardedElements(Engine.ZERO2, parameters, active, start)
    rounded = start["a"].bfloat16().float()
    parameters["a"]._hp_mapping = fragment(0, 35, rounded)
    elements.find_shards(parameters, fresh=fresh)
    wanted = start["a"] if fresh else rounded
    assert torch.equal(parameters["a"]._hp_mapping.hp_fragment, wanted.flatten())


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 12, 35, 40])
def test_padded_parts_are_the_tensor_and_then_zeros(processes):
    whole = start_values()["a"]
    size = -(-whole.numel() // processes)
    parts = [_padded_part(whole, rank, size) for rank in range(processes)]
    flat = [value for row in whole.tolist() for value in row]
    padding = [0.0] * (processes * size - len(flat))
    assert torch.cat(parts).tolist() == flat + padding


def test_whole_values_of_matrices_that_nothing_divided_are_themselves():
    parameters = {"a": torch.nn.Parameter(start_values()["a"])}
    found = whole_values(parameters)["a"]
    assert torch.equal(found, parameters["a"])
    assert not found.requires_grad
