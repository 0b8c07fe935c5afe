"""What validation figures say in words."""

import pytest

from lorapar_cli.training.watching.figures import describe_loss_of_ground

POINTS = [
    {"step": 0, "loss": {"system1": 0.5, "system2": 1.0}, "accuracy": {"system1": 0.5}},
    {"step": 4, "loss": {"system1": 0.7, "system2": 0.9}, "accuracy": {"system1": 0.25}},
    {"step": 8, "loss": {"system1": 0.6, "system2": 1.1}, "accuracy": {"system1": 0.5}},
]


@pytest.mark.parametrize(
    ("step", "measure", "systems", "said"),
    [
        (4, "loss", ["system1"], "loss rose on system1 from 0.5000 to 0.7000"),
        (4, "accuracy", ["system1"], "accuracy fell on system1 from 50.0% to 25.0%"),
        (8, "loss", ["system1", "system2"], "system1 from 0.5000 to 0.6000, system2 from 1.0000"),
        (4, "loss", ["system1", "system2"], None),
        (4, "loss", ["system2"], None),
        (8, "accuracy", ["system1"], None),
        (0, "loss", ["system1"], None),
        (4, "accuracy", ["system2"], None),
        (6, "loss", ["system1"], None),
    ],
)
def test_a_published_step_that_is_worse_than_the_start_is_said(step, measure, systems, said):
    found = describe_loss_of_ground(POINTS, step, measure, systems)
    assert (found is None) if said is None else (said in found)
    assert describe_loss_of_ground(POINTS[1:], step, measure, systems) is None
