"""Active elements under several optimizers, against a dense restatement."""

import pytest
import torch

from lorapar_cli.training.masking.active_elements import ActiveElements, count_moved


def make(seed=0, share=0.4):
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator))
        for name, shape in {"a": (8, 33), "b": (70, 70), "c": (5, 2)}.items()
    }
    active = {n: torch.rand(p.shape, generator=generator) < share for n, p in parameters.items()}
    active["c"][:] = False
    return parameters, active


def loss_of(parameters):
    # `c` is wholly frozen and gets no gradient; the others pull on every element.
    return sum(((p - 3) ** 2 * (1 + i)).sum() for i, p in enumerate(parameters.values()))


def train(parameters, active, optimizer_class, steps=5, **settings):
    elements = ActiveElements(parameters, active)
    optimizer = optimizer_class(elements.values, **settings)
    optimizer.register_step_post_hook(lambda *_: elements.scatter())
    for _ in range(steps):
        for parameter in parameters.values():
            parameter.grad = None
        loss_of(parameters).backward()
        elements.gather()
        torch.nn.utils.clip_grad_norm_(elements.values, 0.1)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("optimizer_class", "settings"),
    [
        (torch.optim.AdamW, {"weight_decay": 0.1, "lr": 0.1}),
        (torch.optim.AdamW, {"weight_decay": 0.1, "lr": 0.1, "fused": True}),
        (torch.optim.SGD, {"weight_decay": 0.1, "lr": 0.1, "momentum": 0.9}),
        (torch.optim.Adagrad, {"weight_decay": 0.1, "lr": 0.1}),
        (torch.optim.RMSprop, {"weight_decay": 0.1, "lr": 0.1, "momentum": 0.5}),
    ],
)
def test_frozen_elements_keep_their_bits(optimizer_class, settings):
    parameters, active = make()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    train(parameters, active, optimizer_class, **settings)
    moved, frozen = count_moved(before, {n: p.detach() for n, p in parameters.items()}, active)
    assert frozen == 0
    assert moved == sum(int(tensor.sum()) for tensor in active.values())


def test_active_elements_move_as_under_a_dense_optimizer_of_them_alone():
    """AdamW acts on each element alone, so a dense step restates the active ones."""
    parameters, active = make()
    dense = {n: torch.nn.Parameter(p.detach().clone()) for n, p in parameters.items() if n != "c"}
    reference = torch.optim.AdamW(dense.values(), lr=0.1, weight_decay=0.1)
    for _ in range(5):
        reference.zero_grad()
        loss_of(dense).backward()
        grads = [p.grad for p in dense.values()]
        norm = torch.sqrt(sum((g[active[n]] ** 2).sum() for n, g in zip(dense, grads, strict=True)))
        for grad in grads:
            grad.mul_(torch.clamp(0.1 / (norm + 1e-6), max=1))
        with torch.no_grad():
            frozen = {n: p.detach().clone() for n, p in dense.items()}
            reference.step()
            for name, parameter in dense.items():
                parameter[~active[name]] = frozen[name][~active[name]]
    train(parameters, active, torch.optim.AdamW, lr=0.1, weight_decay=0.1)
    for name, parameter in dense.items():
        torch.testing.assert_close(parameters[name], parameter, rtol=1e-6, atol=1e-7)


def test_state_exists_for_active_elements_only():
    parameters, active = make()
    optimizer = train(parameters, active, torch.optim.AdamW, lr=0.1)
    held = sum(s["exp_avg"].numel() for s in optimizer.state_dict()["state"].values())
    assert held == sum(int(tensor.sum()) for tensor in active.values())


def test_wholly_frozen_matrix_needs_no_gradient():
    parameters, active = make()
    ActiveElements(parameters, active)
    assert [p.requires_grad for p in parameters.values()] == [True, True, False]


def test_count_moved_sees_a_flipped_sign_of_zero():
    before, after = {"a": torch.tensor([0.0, 1.0])}, {"a": torch.tensor([-0.0, 1.0])}
    assert count_moved(before, after, {"a": torch.tensor([False, True])}) == (0, 1)


@pytest.mark.extra("bitsandbytes")
@pytest.mark.parametrize("name", ["AdamW8bit", "Lion8bit"])
def test_8_bit_optimizers_cannot_drift_frozen_elements(name):
    """Zero quantises to a code that is not zero; below 4,096 elements state is not quantised."""
    import bitsandbytes

    generator = torch.Generator().manual_seed(0)
    parameters = {"a": torch.nn.Parameter(torch.randn(256, 256, generator=generator))}
    active = {"a": torch.rand(256, 256, generator=generator) < 0.4}
    before = {"a": parameters["a"].detach().clone()}
    optimizer = train(
        parameters, active, getattr(bitsandbytes.optim, name), lr=0.1, weight_decay=0.1
    )
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["state1"].dtype == torch.uint8
    moved, frozen = count_moved(before, {"a": parameters["a"].detach()}, active)
    assert frozen == 0
    assert moved > 0.9 * int(active["a"].sum())


def test_gradients_of_a_step_that_was_left_out_do_not_stay():
    """A loss scaler leaves out steps; a matrix may have no gradient in the next one."""
    parameters, active = make()
    elements = ActiveElements(parameters, active)
    loss_of(parameters).backward()
    elements.gather()
    assert all(values.grad is not None for values in elements.values)
    for parameter in parameters.values():
        parameter.grad = None
    elements.gather()
    assert all(values.grad is None for values in elements.values)
