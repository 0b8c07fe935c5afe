"""Frozen elements of shards against a restatement element by element."""

import pytest
import torch

from lorapar_cli.training.masking.dense_masking import (
    Shard,
    mask_in_backward,
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


def test_gradients_are_masked_before_hooks_that_are_registered_later():
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    active = torch.tensor([[True, False], [False, True]])
    mask_in_backward(parameter, active)
    seen = []
    parameter.register_hook(seen.append)
    (parameter * torch.tensor([[1.0, 2.0], [float("nan"), 4.0]])).sum().backward()
    wanted = [[1.0, 0.0], [0.0, 4.0]]
    assert seen[0].tolist() == wanted
    assert parameter.grad.tolist() == wanted
