"""What is said of the real model: partitions against noise, controls, what a mask costs."""

import pytest

from evidence.page import findings
from evidence.page.readme import claims_of
from tests.evidence.page_parts import begun, results, row


def test_noise_by_number_of_samples():
    units = {
        f"truth-{n}": {"splitter": "truth", "asked": n, "verdict": verdict}
        for n, verdict in ((12, "not"), (24, "not"), (100, "above"))
    }
    units["truth-100"]["samples_by_system"] = {"system1": 39, "system2": 100}
    (finding,) = findings.find_all(results(real_noise=units))
    assert finding.text == (
        "Real model, ARC and BoolQ against GSM8K, split by source: the partition is no more than "
        "sampling noise with 12 and 24 samples and clearly above sampling noise with 39 against 100 "
        "samples."
    )
    assert finding.negative is False


def test_noise_is_claimed_once_the_study_is_complete():
    units = {
        f"alone-{n}": {"splitter": "rules, GSM8K alone", "asked": n, "verdict": verdict}
        for n, verdict in ((12, "above"), (100, "barely"))
    }
    found = results(real_noise=units)
    (claim,) = claims_of(found)
    assert "barely more than two samples of one system (100 samples)" in claim.text
    assert claim.negative
    assert claims_of(begun(found, "real-noise", "alone-50")) == []


@pytest.mark.parametrize(
    ("form", "negative", "said", "claimed"),
    [
        ("above", True, "no sign of two ways", "also differ clearly"),
        ("barely", False, "does not make a partition", "do not differ clearly"),
    ],
)
def test_the_controls_say_whether_form_alone_makes_a_partition(form, negative, said, claimed):
    controls = {"same kind, other form": form, "other kind, same form": "above"}
    units = {
        f"{name}-{n}": {"control": name, "asked": n, "verdict": verdict, "beyond": n / 200}
        for name, verdict in controls.items()
        for n in (50, 100)
    }
    found = results(real_noise=units)
    (finding,) = [each for each in findings.find_all(found) if "two forms of answers" in each.text]
    assert said in finding.text
    assert "50 % is beyond noise" in finding.text
    assert "(100 samples)" in finding.text
    (claim,) = claims_of(found)
    assert claimed in claim.text
    assert "50 % of the difference" in claim.text
    assert finding.negative is claim.negative is negative


def test_what_a_mask_costs_the_other_system_is_found_where_it_is_significant():
    units = {
        "7": {
            "differences": [
                row("paper", -0.2, measure="loss", system="system2"),
                row("movement", 0.3, measure="loss", system="system2"),
                row("full", 0.3, 0.2, measure="loss", system="system2"),
                row("movement", -0.4, against="paper", measure="loss", system="system2"),
            ]
        }
    }
    found = findings.find_all(results(real_training=units))
    assert [("less" in each.text, each.negative) for each in found] == [
        (False, True),
        (True, False),
    ]


def test_a_cost_to_the_other_system_is_claimed_with_its_rates():
    def unit(rate, p):
        return {
            "cells": [
                {"cell": "paper", "learning_rate": 0.001},
                {"cell": "random", "learning_rate": rate},
                {"cell": "full", "learning_rate": 0.001},
            ],
            "differences": [
                row("paper", -0.1, 0.9, measure="loss"),
                row("paper", -0.2, p, measure="loss", system="system2"),
                # Full LoRA less the paper's mask: the mask costs more.
                row("full", -0.3, p, against="paper", measure="loss", system="system2"),
            ],
        }

    found = results(real_training={"2": unit(0.032, 0.01), "7": unit(0.004, 0.9)})
    same, less, more = claims_of(found)
    assert same.text.endswith(
        "cannot be told apart from a random one of the same size at 2 % and 7 % of the elements."
    )
    assert (same.negative, less.negative, more.negative) == (True, False, True)
    assert (
        "costs less than a random mask of the same size at 2 % of the elements (-0.20)" in less.text
    )
    assert "is there 32 times that of the paper's mask" in less.text
    assert more.text.endswith("costs more than full LoRA at 2 % of the elements (+0.30).")
