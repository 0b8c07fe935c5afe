"""Which record lands in which file."""

import json
import os

import pytest

from lorapar_cli.labelling.split_files import link_or_copy
from tests.labelling.classify_parts import RULES, read_lines, run_classify


def test_records_that_teach_nothing_are_dropped_and_kept_in_a_file(tmp_path):
    rows = [
        {"instruction": "Say a.", "input": "", "output": "a"},
        {"instruction": "Say nothing.", "input": "", "output": ""},
        {"instruction": "", "input": " ", "output": "b"},
    ]
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    outcome = run_classify(tmp_path / "run", data)
    dropped = read_lines(outcome.folder / "dropped.jsonl")
    assert [line["dropped"] for line in dropped] == ["empty completion", "empty prompt"]
    assert outcome.manifest.counts["empty"] == outcome.manifest.counts["dropped"] == 2


@pytest.mark.parametrize("on_tie", ["system1", "system2", "drop"])
def test_ties_are_broken_counted_and_never_lost(tmp_path, corpus, on_tie):
    outcome = run_classify(tmp_path / "run", corpus, RULES[1:], on_tie=on_tie, holdout=0.0)
    counts = outcome.manifest.counts
    lines = read_lines(outcome.folder / "labels.jsonl")
    dropped = outcome.folder / "dropped.jsonl"
    tied = [line for line in lines if len(set(line["votes"].values())) == 2]
    if on_tie == "drop":
        assert not tied
        tied = read_lines(dropped)
        assert {line["dropped"] for line in tied} == {"no majority"}
        assert {line["label"] for line in tied} == {None}
        assert len(lines) + len(tied) == counts["records"]
    else:
        assert {line["label"] for line in tied} == {on_tie}
        assert not dropped.exists()
    assert counts["undecided"] == len(tied) > 0
    assert {line["agreement"] for line in tied} == {0.5}
    assert any(f"{len(tied)} records without a majority" in n for n in outcome.manifest.notes)


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path, monkeypatch):
    source = tmp_path / "a"
    source.write_text("x")
    link_or_copy(source, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(source)

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "copied")
    assert not (tmp_path / "copied").samefile(source)
    assert (tmp_path / "copied").read_text() == "x"
