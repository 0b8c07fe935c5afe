"""The discount against its formula, and what it leaves alone."""

import numpy as np
import pytest

from lorapar_cli.elements.protection import discount

OWN = np.array([4, 4, 4, 0, 1], np.float32)
OTHER = np.array([0, 1, 7, 3, 1], np.float32)  # mean 2.4


def test_it_equals_the_formula_by_hand():
    found = discount(OWN, OTHER, 2.4, 1.5)
    by_hand = [4, 4 / (1 + 1.5 / 2.4), 4 / (1 + 1.5 * 7 / 2.4), 0, 1 / (1 + 1.5 / 2.4)]
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(by_hand, rel=1e-6)


def test_an_element_of_average_importance_for_the_other_system_loses_half_at_one():
    assert discount(OWN[:1], np.array([2.4], np.float32), 2.4, 1.0)[0] == pytest.approx(2, rel=1e-6)


def test_zero_leaves_the_values_as_they_are():
    assert discount(OWN, OTHER, 2.4, 0.0) is OWN
    assert discount(OWN, 0 * OTHER, 0.0, 5.0) is OWN


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**30])
def test_the_scale_of_either_system_changes_nothing_but_scale(scale):
    plain = discount(OWN, OTHER, 2.4, 0.7)
    assert (discount(OWN, OTHER * np.float32(scale), 2.4 * scale, 0.7) == plain).all()
    assert (discount(OWN * np.float32(scale), OTHER, 2.4, 0.7) == plain * scale).all()
