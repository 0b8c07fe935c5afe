"""Figures in the tables of a comparison."""

import pytest

from lorapar_cli.comparison.report.tables import format_p


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.0000"), (0.03126, "0.0313"), (0.0001, "0.0001"), (9e-5, "<0.0001")]
)
def test_small_p_values_are_not_called_zero(value, text):
    assert format_p(value) == text
