"""What is reported of samples, against counting by hand."""

import random

import pytest

from lorapar_cli.evaluation.intervals import mcnemar_exact, wilson_interval
from lorapar_cli.evaluation.metrics import (
    compare_models,
    measure_accuracy,
    measure_samples,
    split_by_group,
    summarize_samples,
)


def line(item, correct, draw=0, **other):
    return {
        "id": str(item),
        "draw": draw,
        "correct": correct,
        "correct_strict": False,
        "extracted": "1" if correct else "2",
        "reference": "1",
        **other,
    }


def test_figures_by_model_group_and_pair():
    rng = random.Random(0)
    groups = [{"system": rng.choice(["system1", "system2"])} for _ in range(50)]
    correct = {name: [rng.random() < 0.5 for _ in groups] for name in ("base", "sft")}
    samples = {name: [line(n, v) for n, v in enumerate(vs)] for name, vs in correct.items()}
    found = summarize_samples("answer", samples, groups, [1])
    for entry in found["models"]:
        own = correct[entry["model"]]
        assert entry["accuracy"] == sum(own) / 50
        assert entry["strict"]["correct"] == 0
        for system, part in entry["by_system"].items():
            inside = [v for v, g in zip(own, groups, strict=True) if g["system"] == system]
            assert (part["n"], part["correct"]) == (len(inside), sum(inside))
            assert part["interval"] == list(wilson_interval(sum(inside), len(inside)))
    (pair,) = found["pairs"]
    only = [
        sum(a and not b for a, b in zip(correct[x], correct[y], strict=True))
        for x, y in (("sft", "base"), ("base", "sft"))
    ]
    assert [pair["only_first"], pair["only_second"]] == only
    assert pair["p_value"] == mcnemar_exact(*only)
    assert sum(part["n"] for part in pair["by_system"].values()) == 50


def test_mean_of_subjects_counts_subjects_alike():
    groups = [{"subject": "a"}] * 3 + [{"subject": "b"}]
    samples = {"base": [line(n, n == 3) for n in range(4)]}
    (entry,) = summarize_samples("likelihood", samples, groups, [1])["models"]
    assert entry["accuracy"] == 0.25
    assert entry["macro_accuracy"] == 0.5


def test_several_draws():
    samples = {
        "base": [line(0, c, d) for d, c in enumerate([False, True, True])]
        + [line(1, c, d) for d, c in enumerate([True, False, False])]
    }
    (entry,) = summarize_samples("answer", samples, [{}, {}], [1, 2, 3])["models"]
    assert entry["n"] == 2
    assert entry["accuracy"] == 0.5
    assert entry["completions"] == 6
    assert entry["pass_at_k"]["1"]["pass_rate"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert entry["pass_at_k"]["1"]["draws"] == 3
    assert entry["pass_at_k"]["3"]["pass_rate"] == 1
    assert entry["maj_at_k"]["3"]["correct"] == 1


def test_the_first_k_answers_vote():
    items = [[line(n, c, d) for d, c in enumerate([False, True, True])] for n in range(2)]
    measured = measure_samples("answer", items, [1, 3])
    assert {k: at_k["correct"] for k, at_k in measured["maj_at_k"].items()} == {"1": 0, "3": 2}


def test_a_majority_is_right_if_its_answer_was_graded_right():
    spelled = [("yes", True), ("no", False), ("true", True), ("no", False)]
    own = [line(0, correct, d, extracted=text) for d, (text, correct) in enumerate(spelled)]
    # `yes` and `true` are both accepted, but only equal answers share their votes.
    assert measure_samples("answer", [own], [3, 4])["maj_at_k"]["4"]["correct"] == 0
    assert measure_samples("answer", [own], [3])["maj_at_k"]["3"]["correct"] == 1
    none = [line(0, False, d, extracted=None) for d in range(2)]
    assert measure_samples("answer", [none], [2])["maj_at_k"]["2"]["correct"] == 0


def test_programs_have_no_majority():
    assert "maj_at_k" not in measure_samples("code", [[line(0, True), line(0, False, 1)]], [1])


def test_keys_are_in_the_order_of_results_json():
    groups = [{"system": "system1", "steps": "1"}]
    samples = {"base": [line(0, True), line(0, False, 1)]}
    (row,) = summarize_samples("answer", samples, groups, [1])["models"]
    assert list(row) == [
        *("model", "n", "correct", "accuracy", "interval", "by_steps", "by_system", "strict"),
        *("pass_at_k", "maj_at_k", "completions", "cut", "problems"),
    ]


def test_truncated_completions_are_counted():
    lines = [line(n, True, finished=n == 0) for n in range(3)]
    (row,) = summarize_samples("exact", {"base": lines}, [{}] * 3, [1])["models"]
    assert (row["completions"], row["cut"]) == (3, 2)
    assert "strict" not in row


def test_problems_are_counted_over_all_draws_by_model_and_group():
    samples = {
        "base": [
            line(0, True, 0, finished=True),
            line(0, False, 1, extracted=None, finished=False),
            line(1, False, 0, extracted=None, finished=True),
        ]
    }
    groups = [{"system": "system1"}, {"system": "system2"}]
    (row,) = summarize_samples("answer", samples, groups, [1])["models"]
    assert row["problems"] == {"no_answer": 2, "cut": 1}
    assert row["by_system"]["system1"]["problems"] == {"no_answer": 1, "cut": 1}
    assert row["by_system"]["system2"]["problems"] == {"no_answer": 1, "cut": 0}
    (row,) = summarize_samples("likelihood", samples, [{"subject": "a"}] * 2, [1])["models"]
    assert "problems" not in row
    assert "problems" not in row["by_subject"]["a"]


def test_accuracy_of_nothing_is_unknown():
    assert measure_accuracy([]) == {"n": 0, "correct": 0, "accuracy": None, "interval": [0.0, 1.0]}


def test_groups_are_ordered_by_number_then_by_name():
    groups = [{"steps": steps} for steps in ("10", "many", "2", "2")]
    assert split_by_group([True, False, True, False], groups) == {
        "steps": {"2": [True, False], "10": [True], "many": [False]}
    }
    assert list(split_by_group([True] * 4, groups)["steps"]) == ["2", "10", "many"]


def test_pairs_of_three_models_come_later_against_earlier():
    correct = {name: [True] for name in ("base", "sft", "rl")}
    assert [(p["model"], p["against"]) for p in compare_models(correct, [{}])] == [
        ("sft", "base"),
        ("rl", "base"),
        ("rl", "sft"),
    ]
