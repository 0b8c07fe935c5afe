"""Rows and differences of a comparison from made-up trainings."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from lorapar_cli.comparison.report.results import (
    base_row,
    cell_row,
    compare_cells,
    difference_of,
    pooled_mean,
)
from lorapar_cli.comparison.schedule import StageOutcome
from lorapar_cli.names import Stage
from tests.comparison.made_up import outcome, result

BASE = result([1.0, 2.0], [0, 1]) | {"neutral_loss": 2.5}


def test_a_row_has_means_over_records_and_seeds():
    made = StageOutcome(0.01, {0.01: 0.4}, {2: result([0.5, 1.5], [1, 0]), 1: result([0.3, 0.7])})
    row = cell_row("a", Stage.TRAIN_SFT, made, BASE, ["system1"])
    assert row["loss"] == pytest.approx({"system1": 0.75, "system2": 1.75})
    assert row["accuracy"] == pytest.approx({"system1": 0.75, "system2": 0.75})
    assert row["seeds"] == [1, 2]
    assert (row["active"], row["optimizer_bytes"]) == (100, 800)
    # The base model's losses on System 2 are 2 and 3.
    assert row["forgetting"] == pytest.approx(
        {"kl": 0.25, "neutral_loss_change": 0.5, "other_loss_change": 1.75 - 2.5}
    )


def test_a_cell_on_both_systems_has_no_other_one():
    row = cell_row("a", Stage.TRAIN_SFT, outcome(0.5), BASE, ["system1", "system2"])
    assert "other_loss_change" not in row["forgetting"]


def test_a_rate_that_diverged_has_no_value():
    row = cell_row("a", Stage.TRAIN_SFT, outcome(0.5), BASE, ["system1"])
    assert row["searched"] == [(0.0003, 0.5), (0.001, 0.4), (0.003, None)]


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({1: result([1.0]), 2: {"seconds": 1.0, "diverged": "loss is nan"}}, "loss is nan"),
        ({}, "at every learning rate: loss is nan; no gradient"),
    ],
)
def test_a_cell_that_diverged_says_so(results, reason):
    made = StageOutcome(0.1, {}, results, ("loss is nan", "no gradient"))
    row = cell_row("a", Stage.TRAIN_SFT, made, BASE, ["system1"])
    assert row["diverged"] == reason
    assert "loss" not in row


def test_the_base_model():
    assert base_row(BASE) == {
        "loss": {"system1": 1.5, "system2": 2.5},
        "accuracy": {"system1": 0.5, "system2": 0.5},
        "neutral_loss": 2.5,
    }


def test_differences_are_paired_by_record_and_seed():
    first, second = outcome(0.5, draw=1), outcome(0.6, draw=2)
    found = difference_of(first, second, "loss", ["system1"])
    d = np.array(
        [
            np.subtract(
                first.results[s]["losses"]["system1"], second.results[s]["losses"]["system1"]
            )
            for s in (1, 2, 3)
        ]
    )
    assert found.difference == pytest.approx(d.mean())
    # Records differ by .3, which pairing takes out.
    assert found.standard_error < 0.01


def test_only_common_seeds_are_compared():
    first, second = outcome(0.5), outcome(0.6, seeds=5, draw=1)
    assert difference_of(first, second, "loss", ["system1"]).seeds == 3
    assert (
        difference_of(StageOutcome(1, {}, {7: result([1.0])}), second, "loss", ["system1"]) is None
    )


def test_each_pair_once_and_corrected_by_measure():
    cells = {
        name: outcome(0.5 + n / 200, draw=n) for n, name in enumerate(["paper", "random", "full"])
    }
    rows = compare_cells(cells, Stage.TRAIN_SFT)
    pairs = [
        (r["cell"], r["against"])
        for r in rows
        if (r["measure"], r["system"]) == ("loss", "system1")
    ]
    assert pairs == [("paper", "random"), ("full", "random"), ("full", "paper")]
    for measure in ("loss", "accuracy"):
        own = [row for row in rows if row["measure"] == measure]
        assert len(own) == 6
        wanted = multipletests([row["p_value"] for row in own], method="holm")[1]
        assert [row["p_holm"] for row in own] == pytest.approx(list(wanted))


def test_systems_are_pooled_by_record():
    made = result([1.0, 2.0])
    made["losses"]["system2"] = [6.0]
    assert pooled_mean([made], "loss", ["system1", "system2"]) == 3.0
