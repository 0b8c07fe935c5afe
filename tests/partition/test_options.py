"""Options of `partition`: what is out of range, and what excludes each other."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.partition.options import PartitionOptions


@pytest.mark.parametrize(
    "changed",
    [
        *({"theta": 0}, {"theta": 1.1}, {"theta": float("nan")}, {"theta_s2": 0.0}),
        *({"alpha": -0.1}, {"beta": 2}, {"budget": 0}, {"protect": -1.0}),
        *({"protect": float("inf")}, {"budget_s1": "0.5"}, {"budget_s2": "0 %"}, {"only": "C"}),
    ],
)
def test_values_out_of_range(changed):
    (name,) = changed
    with pytest.raises(UsageError, match=f"`--{name.replace('_', '-')}`"):
        PartitionOptions(**changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"select": "random"}, "global cut by importance"),
        ({"scope": "module"}, "global cut by importance"),
        ({"scope_s2": "module"}, "global cut by importance"),
        ({"budget_s1": "3"}, "omit `--budget-s1`"),
        ({"theta_s1": 0.5}, "omit `--theta-s1`"),
        ({"theta_s2": 0.5}, "`--theta-s2`"),
    ],
)
def test_a_budget_excludes_what_it_would_set(changed, words):
    with pytest.raises(UsageError, match=words):
        PartitionOptions(budget=5, **changed)


def test_theta_stands_for_the_systems_that_have_none_of_their_own():
    assert PartitionOptions().thetas == (0.9, 0.9)
    assert PartitionOptions(theta=0.5, theta_s2=0.8).thetas == (0.5, 0.8)


def test_a_budget_of_a_system_takes_the_place_of_its_theta():
    with pytest.raises(UsageError, match="omit `--theta-s2`"):
        PartitionOptions(budget_s2="3", theta_s2=0.4)
    assert PartitionOptions(budget_s2="3", theta_s1=0.4).thetas == (0.4, 0.9)


def test_scope_stands_for_system_2_unless_it_has_its_own():
    assert PartitionOptions(scope="module").scopes == ("module", "module")
    assert PartitionOptions(scope="module", scope_s2="global").scopes == ("module", "global")
