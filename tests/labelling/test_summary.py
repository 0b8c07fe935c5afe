"""Counts, accuracy, tokens and money, and the notes."""

from pathlib import Path

import pytest

from lorapar_cli.store.records import read_records
from tests.labelling.classify_parts import (
    FAST,
    RULES,
    ask,
    read_lines,
    run_classify,
    running_server,
    write_corpus,
    write_questions,
    write_teachers,
)

FILES = ("labels.jsonl", "heldout.jsonl")
BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_accuracy_on_the_embedded_corpus_stands_in_the_docs(tmp_path):
    """The summary's numbers equal counting by hand, and docs/benchmarks.md states them."""
    data = write_corpus(tmp_path / "corpus.jsonl", per_system=2000)
    outcome = run_classify(tmp_path / "run", data)
    accuracy = outcome.manifest.metrics["accuracy"]
    hits = dict.fromkeys([*RULES, "vote"], 0)
    for name in FILES:
        for record in read_records(outcome.folder / name):
            truth = record.extra["source_label"]
            hits["vote"] += record.label == truth
            for rule in RULES:
                hits[rule] += record.votes[rule] == truth
    assert accuracy == {name: count / 4000 for name, count in hits.items()} | {"records": 4000}
    text = BENCHMARKS.read_text(encoding="utf-8")
    for name in hits:
        row = f"| {name} | {accuracy[name]:.3f} |"
        assert row in text, f"docs/benchmarks.md should have the row: {row}"
    assert accuracy["vote"] > 0.9


def test_accuracy_is_of_the_votes_that_were_cast(tmp_path):
    """By hand, with a teacher that is spared most records and another one that never answers."""
    data = write_corpus(tmp_path / "corpus.jsonl", per_system=30)
    options = {"economy": True, "min_votes": 2, "retries": 0}
    with running_server(dead_after={"model-d": 0}) as server:
        outcome = ask(tmp_path / "run", data, server, "abcd", **options)
    lines = [line for name in FILES for line in read_lines(outcome.folder / name)]
    accuracy = outcome.manifest.metrics["accuracy"]
    assert "d" not in accuracy
    spared = 0
    for name in "abc":
        cast = [line for line in lines if line["votes"].get(name) is not None]
        spared += len(lines) - len(cast)
        hits = sum(line["votes"][name] == line["source_label"] for line in cast)
        assert accuracy[name] == pytest.approx(hits / len(cast))
    assert spared > 0
    assert accuracy["records"] == len(lines) == 60


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 101, "completion_tokens": 13}])
def test_tokens_and_money_are_the_same_for_straight_and_resumed_runs(tmp_path, usage):
    data = write_questions(tmp_path / "data.jsonl", 40)
    sums = []
    for name, parts in (("straight", (40,)), ("resumed", (7, 23, 40))):
        with running_server(usage=usage, fault_share=0.3, faults={"both": 1}) as server:
            price = "{input: 0.37, output: 1.13}"
            mine = write_teachers(tmp_path / "mine.yaml", server, price)
            for limit in parts:
                options = {"teachers_file": mine, "limit": limit, "clock": FAST}
                outcome = run_classify(tmp_path / name, data, "ab", **options)
        wanted = ("prompt_tokens", "completion_tokens", "cost", "tokens_estimated")
        rows = outcome.manifest.counts["teachers"].values()
        notes = [note for note in outcome.manifest.notes if "estimated" in note]
        sums.append(([[row[key] for key in wanted] for row in rows], notes))
        assert outcome.manifest.metrics["cost"] == round(sum(row["cost"] for row in rows), 9)
    assert sums[0] == sums[1]
    assert all(prompt > 40 * 100 for prompt, *_ in sums[0][0])
    assert len(sums[0][1]) == (2 if usage is None else 0)


def test_questions_that_a_dead_teacher_left_open_are_not_counted_as_saved(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    options = {"economy": True, "min_votes": 2, "retries": 1}
    with running_server(dead_after={"model-c": 3}) as server:
        outcome = ask(tmp_path / "run", data, server, "abc", **options)
    lines = [
        *read_lines(outcome.folder / "labels.jsonl"),
        *read_lines(outcome.folder / "heldout.jsonl"),
    ]
    agreed = sum(line["votes"]["a"] == line["votes"]["b"] for line in lines)
    assert 0 < agreed < 57
    assert outcome.manifest.counts["requests_saved"]["economy"] == agreed


def test_what_economy_spared_is_not_taken_for_a_refusal(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(refuse=["Ann has 7 "]) as server:
        outcome = ask(tmp_path / "run", data, server, "abc", economy=True, min_votes=1)
    counts = outcome.manifest.counts
    spared = counts["requests_saved"]["economy"]
    assert spared > 0
    rows = counts["teachers"]["c"]
    assert rows["no_vote"] == rows["refused"]
    assert rows["system1"] + rows["system2"] + rows["no_vote"] == 60 - spared
