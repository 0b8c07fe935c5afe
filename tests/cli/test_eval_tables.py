"""What `eval` prints of a manifest, in 80 columns."""

import pytest

from lorapar_cli.cli.eval_tables import render
from lorapar_cli.store.manifest import Manifest
from tests.cli.shown import shown
from tests.tools.finished_runs import EVAL_METRICS, EVAL_SETTINGS

SETTINGS = {
    **EVAL_SETTINGS,
    **{"limit": 2, "style": "trained", "num_fewshot": 0, "max_new_tokens": 256},
    **{"backend": "transformers", "dtype": "auto", "template_arg": [], "sandbox": None, "seed": 0},
}
COUNTS = {"items": 200, "without_reference": 0, "tokens": {}}


@pytest.fixture
def show():
    """Returns a function from changed settings to what is printed."""

    def call(problems=None, **changes):
        models = [
            row | ({"problems": problems} if problems else {}) for row in EVAL_METRICS["models"]
        ]
        inputs = {"data": {"path": "d", "sha256": "0123456789abcdef"}, "sft/weights": {}}
        manifest = Manifest(
            "eval",
            SETTINGS | changes,
            inputs=inputs,
            counts=COUNTS,
            metrics=EVAL_METRICS | {"models": models},
        )
        return shown(render(manifest))

    return call


def test_one_draw_and_all_draws_have_different_names(show):
    text = show()
    assert "accuracy (first of 8 draws) on 200 records" in text
    assert "pass@1 (mean of 8 draws)" in text
    assert "pass@4 (from 8 draws)" in text
    assert "maj@4 (vote of 4 draws)" in text


def test_what_figures_depend_on_is_said(show):
    text = " ".join(show().split())
    for part in (
        "task data",
        "256 tokens, 8 draws, temperature 0.8",
        "data 0123456789ab",
        "seed 0",
    ):
        assert part in text
    assert "sft/weights" not in text


def test_a_limit_per_subject_is_said(show):
    assert "(first 2 of each subject)" in show(task="mmlu")
    assert "of each subject" not in show()


def test_problems_are_shown_where_there_are_any(show):
    text = show({"no_answer": 3, "cut": 0, "timeout": 1})
    assert "no answer found" in text
    assert "timeout" in text
    assert "truncated" not in text
    assert "problem" not in show()


def test_metrics_of_the_harness_keep_their_names():
    metric = {"metric": "f1", "filter": "none", "value": 0.25, "stderr": 0.125}
    task = {"task": "toy", "is_group": False, "version": "1", "num_fewshot": 0, "n": 4}
    rows = [
        {"model": name, "tasks": [task | {"metrics": [metric | {"higher_is_better": True}]}]}
        for name in ("base", "sft")
    ]
    manifest = Manifest(
        "eval",
        SETTINGS | {"match": "harness", "max_new_tokens": None, "num_fewshot": None},
        counts=COUNTS,
        metrics={"models": [], "pairs": [], "harness": rows},
    )
    text = shown(render(manifest))
    assert "f1" in text
    assert text.count("0.2500 ± 0.1250") == 2
    assert "accuracy" not in text
    assert "None" not in text
