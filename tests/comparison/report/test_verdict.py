"""The sentence: does the mask earn its keep, and what is cheapest?"""

import pytest

from lorapar_cli.comparison.report.results import compare_cells, pooled_mean
from lorapar_cli.comparison.report.verdict import Judged, join_sentences, judge
from lorapar_cli.names import Stage
from tests.comparison.made_up import outcome


def judged(
    means, *, margin=0.1, base=1.5, active=None, spread=0.01, seeds=3, systems=("system1",), shift=0
):
    """Returns the verdict on cells of these mean losses.

    Args:
        shift: Of the losses of `paper` on System 2 against the same of other cells.
    """
    sizes = dict.fromkeys(means, 100) | (active or {})
    cells = {
        name: outcome(mean, draw=n, active=sizes[name], spread=spread, seeds=seeds)
        for n, (name, mean) in enumerate(means.items())
    }
    for each in cells["paper"].results.values():
        each["losses"]["system2"] = [loss + shift for loss in each["losses"]["system2"]]
    return judge(
        Judged(
            Stage.TRAIN_SFT,
            "loss",
            systems,
            cells,
            {name: (sizes[name], int(name != "random")) for name in means},
            {n: pooled_mean(list(c.results.values()), "loss", systems) for n, c in cells.items()},
            base,
            compare_cells(cells, Stage.TRAIN_SFT),
            margin,
        )
    )


def test_a_better_mask_earns_its_keep():
    found = judged({"paper": 0.4, "random": 0.5}, base=0.9)
    assert (found["finding"], found["best"], found["cheapest"]) == ("earned", "paper", "paper")
    assert found["sentence"].startswith(
        "in SFT the mask earned its keep: the loss of `paper` is better than that of a random mask "
        "of the same size at 95 % confidence (difference -0.0"
    )
    assert "40 records, 3 seeds" in found["sentence"]
    assert "the cheapest cell is the best one, `paper` (100 trained elements)" in found["sentence"]


def test_a_worse_mask_did_not():
    found = judged({"paper": 0.6, "random": 0.5})
    assert (found["finding"], found["best"]) == ("worse", "random")
    assert "the mask did not earn its keep" in found["sentence"]


def test_no_difference_is_not_called_one():
    found = judged({"paper": 0.5, "random": 0.5}, spread=0.3)
    assert found["finding"] == "not shown"
    assert "the mask did not show that it earns its keep" in found["sentence"]
    assert "cannot be told apart from that of a random mask" in found["sentence"]


@pytest.mark.parametrize(
    ("shift", "finding", "words"),
    [
        (
            0,
            "earned",
            "earned its keep: the loss of `paper`, compared with that of a random mask of "
            "the same size at 95 % confidence, is better on System 1 (difference -0.0",
        ),
        (0.1, "not shown", " 3 seeds) and not significantly different on System 2 ("),
        (0.3, "not shown", " 3 seeds) and worse on System 2 (difference +0.2"),
    ],
)
def test_of_two_systems_both_must_show_it(shift, finding, words):
    systems = ("system1", "system2")
    found = judged({"paper": 0.4, "random": 0.5}, systems=systems, shift=shift)
    assert found["finding"] == finding
    assert words in found["sentence"]
    assert found["sentence"].startswith(
        "in SFT the mask "
        + ("earned" if finding == "earned" else "did not show that it earns its keep: ")
    )


def test_the_cheapest_cell_within_the_margin():
    # The best gains about 1.04 over the base model: a tenth of it may be lost.
    means = {"paper": 0.45, "random": 0.48, "full": 0.4}
    found = judged(means, active={"full": 1000})
    assert (found["best"], found["cheapest"]) == ("full", "random")
    assert found["margin"] == pytest.approx(0.104, abs=0.001)
    assert (
        "not worse than the best one, `full`, by more than 0.104 is `random`" in found["sentence"]
    )
    # With a margin of a twentieth only paper is good enough, with none only the best itself.
    assert judged(means, margin=0.055, active={"full": 1000})["cheapest"] == "paper"
    assert judged(means, margin=0, active={"full": 1000})["cheapest"] == "full"


def test_uncertain_cells_are_not_within_the_margin():
    means = {"paper": 0.42, "random": 0.42, "full": 0.4}
    found = judged(means, active={"full": 1000}, spread=1.0)
    assert found["cheapest"] == found["best"]


@pytest.mark.parametrize("slip", [0, 1e-15])
def test_the_best_of_equal_cells_is_the_cheapest(slip):
    names = ("paper", "random", "tiny")
    sizes = {"paper": 100, "random": 100, "tiny": 5}
    cells = {name: outcome(0.4, active=sizes[name]) for name in names}
    means = {name: 0.4 - slip * (name == "paper") for name in names}
    costs = {name: (sizes[name], int(name != "random")) for name in names}
    differences = compare_cells(cells, Stage.TRAIN_SFT)
    stage = (Stage.TRAIN_SFT, "loss", ("system1",), cells, costs, means, 1.5, differences, 0.1)
    assert judge(Judged(*stage))["best"] == "tiny"


def test_no_gain_over_the_base_model_is_said():
    found = judged({"paper": 0.6, "random": 0.7}, base=0.5)
    assert found["cheapest"] is None
    assert found["sentence"].endswith("and no cell is better than the base model")


def test_without_random_nothing_is_said_of_the_mask():
    found = judged({"paper": 0.6, "full": 0.7})
    assert found["finding"] == "not compared"
    assert "there are no figures of `random`" in found["sentence"]


def test_other_sizes_and_single_seeds_are_said():
    found = judged({"paper": 0.4, "random": 0.5}, active={"random": 90}, seeds=1)
    assert "of 90 elements" in found["sentence"]
    assert "1 seed, without the variance between trainings" in found["sentence"]


def test_one_sentence_for_all_stages():
    both = [judged({"paper": 0.4, "random": 0.5}), judged({"paper": 0.6, "random": 0.5})]
    text = join_sentences(both)
    assert text.startswith("In SFT the mask earned")
    assert "; in SFT the mask did not earn" in text
    assert "." not in text.replace("0.", "")[-1:]
