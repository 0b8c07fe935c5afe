"""Sums and formulas against a loop over samples in float64."""

from typing import get_args

import numpy as np
import pytest
import torch

from lorapar_cli.elements.importance import (
    FORMULAS,
    GradientSums,
    compute_importance,
    magnitude_importance,
    random_importance,
    signed_terms,
)
from lorapar_cli.names import Formula

SHAPES = {"m.lora_A.weight": (2, 5), "m.lora_B.weight": (3, 2)}
NAIVE = {
    "taylor2": lambda phi, g, f: abs(g * phi - f * phi**2 / 2),
    "taylor1": lambda phi, g, f: abs(g * phi),
    "fisher": lambda phi, g, f: f,
}


@pytest.fixture
def values():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.fixture
def gradients():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(7, *shape, generator=generator) for name, shape in SHAPES.items()}


def added_up(gradients, batch: int) -> GradientSums:
    sums = GradientSums({name: value[0].numel() for name, value in gradients.items()})
    for start in range(0, 7, batch):
        chosen = range(start, min(7, start + batch))
        membership = torch.tensor([[float(i % 2 == half) for i in chosen] for half in range(2)])
        for name, value in gradients.items():
            sums.add(name, value[start : start + batch].clone(), membership)
        sums.add_losses(torch.tensor([float(i) for i in chosen]), membership)
    return sums


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("formula", NAIVE)
def test_formulas_of_all_samples_and_of_each_half(values, gradients, formula, batch):
    sums = added_up(gradients, batch)
    for half, chosen in ((None, range(7)), (0, range(0, 7, 2)), (1, range(1, 7, 2))):
        found = compute_importance(values, sums, formula, half)
        for name, phi in values.items():
            own = gradients[name].double().numpy()[list(chosen)]
            expected = NAIVE[formula](phi.double().numpy(), own.mean(0), (own**2).mean(0))
            assert found[name].dtype == torch.float32
            np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-5)


def test_counts_and_losses(gradients):
    sums = added_up(gradients, 3)
    assert sums.samples == 7
    assert sums.mean_loss == pytest.approx(3)


def test_signed_terms(values, gradients):
    found = signed_terms(values, added_up(gradients, 3), half=1)
    for name, phi in values.items():
        expected = (gradients[name][1::2].mean(0) * phi).flatten()
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-5)


def test_magnitude_and_random(values):
    for name, found in magnitude_importance(values).items():
        assert torch.equal(found, values[name].abs())
    first, again = (random_importance(values, 0, "system1") for _ in range(2))
    other = random_importance(values, 0, "system2")
    for name, phi in values.items():
        assert first[name].shape == phi.shape
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert 0 <= first[name].min() <= first[name].max() < 1


def test_every_formula_that_can_be_chosen_is_there():
    assert tuple(FORMULAS) == get_args(Formula)
