"""Each rule against a naive restatement in float64, from the gradients of single samples."""

import numpy as np
import pytest
import torch

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.elements.rules import (
    gallop_importance,
    migu_importance,
    movement_importance,
    signal_to_noise,
    snr_importance,
)

SHAPES = {"q.lora_A.weight": (2, 3), "q.lora_B.weight": (4, 2)}


@pytest.fixture
def drawn():
    """Values, 7 samples' gradients by name, the half of each sample, and their sums."""
    draw = np.random.default_rng(5)
    values = {n: torch.from_numpy(draw.normal(size=s)).float() for n, s in SHAPES.items()}
    gradients = {n: draw.normal(0.3, 1, size=(7, *s)).astype(np.float32) for n, s in SHAPES.items()}
    halves = np.array([0, 1, 1, 0, 1, 0, 0])
    sums = GradientSums({n: v.numel() for n, v in values.items()})
    membership = torch.from_numpy(np.stack([halves == 0, halves == 1])).float()
    for name, own in gradients.items():
        sums.add(name, torch.from_numpy(own.copy()), membership)
    sums.add_losses(torch.zeros(7), membership)
    return values, gradients, halves, sums


@pytest.mark.parametrize("half", [None, 0, 1])
def test_snr_is_the_t_statistic_of_the_mean(drawn, half):
    values, gradients, halves, sums = drawn
    found = snr_importance(values, sums, half)
    for name, own in gradients.items():
        chosen = own.astype(np.float64)[slice(None) if half is None else halves == half]
        error = chosen.std(0, ddof=1) / np.sqrt(len(chosen))
        assert found[name].dtype == torch.float32
        assert found[name].shape == values[name].shape
        # Sums of a batch are float32, and gradients of both signs cancel.
        np.testing.assert_allclose(found[name], abs(chosen.mean(0)) / error, rtol=1e-5, atol=1e-6)


def test_snr_is_zero_without_a_gradient_and_finite_without_noise():
    mean = torch.tensor([0.0, 3.0, -1e-20], dtype=torch.float64)
    found = signal_to_noise(mean, mean**2, 5)
    assert found[0] == 0
    largest = np.sqrt(4 / np.finfo(np.float32).eps)
    assert found[1:].tolist() == pytest.approx([largest, largest])
    assert signal_to_noise(mean, mean**2, 1).isfinite().all()


def test_gallop_divides_by_the_base_weights_of_the_feature(drawn):
    values, gradients, _, sums = drawn
    base = np.random.default_rng(1).normal(size=(4, 3))
    magnitudes = {
        "q.lora_A.weight": torch.from_numpy(abs(base).mean(0, keepdims=True)),
        "q.lora_B.weight": torch.from_numpy(abs(base).mean(1, keepdims=True)),
    }
    found = gallop_importance(values, sums, magnitudes)
    for name, own in gradients.items():
        for i, j in np.ndindex(SHAPES[name]):
            feature = base[:, j] if "lora_A" in name else base[i, :]
            gradient = np.mean([float(g) for g in own[:, i, j]])
            expected = abs(gradient) / (np.mean([abs(w) for w in feature]) + 1e-8)
            assert found[name][i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_gallop_is_finite_on_features_without_base_weights(drawn):
    values, _, _, sums = drawn
    magnitudes = {
        "q.lora_A.weight": torch.zeros(1, 3),
        "q.lora_B.weight": torch.zeros(4, 1),
    }
    found = gallop_importance(values, sums, magnitudes)
    assert all(own.isfinite().all() and own.any() for own in found.values())


def test_migu_gives_every_element_of_a_row_the_rows_share():
    values = {"A": torch.zeros(2, 3)}
    found = migu_importance(values, {"A": torch.tensor([0.25, 0.75], dtype=torch.float64)})
    assert found["A"].tolist() == [[0.25] * 3, [0.75] * 3]


def test_movement_is_the_absolute_difference():
    before = {"A": torch.tensor([[1.0, -2.0, 0.5]])}
    after = {"A": torch.tensor([[1.5, -2.25, 0.5]])}
    assert movement_importance(before, after)["A"].tolist() == [[0.5, 0.25, 0.0]]
