"""Frozen elements of shards against a restatement element by element."""

import pytest
import torch

from lorapar_cli.training.masking.dense_masking import (
    Shard,
    WholeMatrices,
    restore_frozen,
    zero_frozen,
)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1, momentum=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.1, weight_decay=0.1),
    ],
)
@pytest.mark.parametrize("restored", [True, False])
def test_frozen_elements_keep_their_bits_under_weight_decay(make, restored):
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(7, 5))
    start = parameter.detach().clone()
    active = torch.rand(7, 5) < 0.4
    shard = Shard(active, start.clone(), lambda: parameter, parameter.copy_)
    optimizer = make([parameter])
    if restored:
        optimizer.register_step_post_hook(lambda *_: restore_frozen([shard]))
    for _ in range(3):
        optimizer.zero_grad()
        (parameter * torch.randn(7, 5)).sum().backward()
        parameter.grad = zero_frozen(parameter.grad, active)
        optimizer.step()
    moved = {
        (row, column)
        for row in range(7)
        for column in range(5)
        if parameter[row, column].item() != start[row, column].item()
    }
    wanted = {tuple(place) for place in active.nonzero().tolist()}
    assert (moved == wanted) is restored


def test_what_is_not_a_number_is_masked_too():
    gradient = torch.tensor([1.0, float("nan"), float("inf"), -2.0], dtype=torch.bfloat16)
    masked = zero_frozen(gradient, torch.tensor([True, False, False, True]))
    assert masked.dtype is torch.bfloat16
    assert masked.tolist() == [1.0, 0.0, 0.0, -2.0]


@pytest.mark.parametrize("in_backward", [False, True])
def test_whole_matrices_keep_frozen_elements_and_hide_their_gradients(in_backward):
    torch.manual_seed(0)
    parameters = {name: torch.nn.Parameter(torch.randn(6, 5)) for name in "ab"}
    start = {name: p.detach().clone() for name, p in parameters.items()}
    active = {"a": torch.rand(6, 5) < 0.4, "b": torch.zeros(6, 5, dtype=torch.bool)}
    matrices = WholeMatrices(parameters, active, start, in_backward=in_backward)
    assert [p.requires_grad for p in parameters.values()] == [True, False]
    seen = []

    def step(parameter):
        seen.append(parameter.grad.clone())
        with torch.no_grad():
            parameter.mul_(0.9).sub_(parameter.grad)
        parameter.grad = None

    if in_backward:
        parameters["a"].register_post_accumulate_grad_hook(step)
    sum((p**2).sum() for p in parameters.values()).backward()
    matrices.gather()
    if not in_backward:
        step(parameters["a"])
        matrices.scatter()
    assert torch.equal(seen[0] != 0, active["a"])
    assert torch.equal(parameters["a"].detach() != start["a"], active["a"])
    assert torch.equal(parameters["b"].detach(), start["b"])
