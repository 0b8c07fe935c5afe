"""The raw adapter's half of a rank-2r adapter, and masks that freeze the other half."""

import numpy as np
import pytest
import torch

from lorapar_cli.elements.rank_doubling import trained_half, widen_mask

A, B = "x.lora_A.weight", "x.lora_B.weight"


@pytest.mark.parametrize(("name", "shape"), [(A, (2, 5)), (B, (7, 2))])
def test_a_raw_mask_covers_the_first_half_of_a_doubled_matrix(name, shape):
    mask = np.random.default_rng(0).random(shape) > 0.5
    doubled = (4, 5) if name == A else (7, 4)
    widened = widen_mask(name, mask, doubled)
    assert widened.shape == doubled
    assert widened.dtype == mask.dtype
    assert (trained_half(name, widened, 2) == mask).all()
    assert widened.sum() == mask.sum()


def test_the_half_is_a_view_of_arrays_and_tensors():
    array, tensor = np.zeros((4, 5)), torch.zeros(7, 4)
    trained_half(A, array, 2)[...] = 1
    trained_half(B, tensor, 2).fill_(1)
    assert array.sum(1).tolist() == [5, 5, 0, 0]
    assert tensor.sum(0).tolist() == [7, 7, 0, 0]


def test_leading_dimensions_of_gradients_are_kept():
    gradients = torch.arange(3 * 4 * 5).reshape(3, 4, 5)
    assert torch.equal(trained_half(A, gradients, 2), gradients[:, :2])
    gradients = torch.arange(3 * 7 * 4).reshape(3, 7, 4)
    assert torch.equal(trained_half(B, gradients, 2), gradients[:, :, :2])


def test_the_doubled_adapter_is_zero_at_the_start_and_trains_the_first_half():
    draw = np.random.default_rng(0)
    first_a, first_b = draw.standard_normal((2, 5)), draw.standard_normal((7, 2))
    doubled_a = np.concatenate([first_a, first_a])
    doubled_b = np.concatenate([first_b, -first_b], 1)
    np.testing.assert_allclose(doubled_b @ doubled_a, 0, atol=1e-12)
    trained_half(A, doubled_a, 2)[...] += 0.1
    trained_half(B, doubled_b, 2)[...] -= 0.2
    expected = (first_b - 0.2) @ (first_a + 0.1) - first_b @ first_a
    np.testing.assert_allclose(doubled_b @ doubled_a, expected)
