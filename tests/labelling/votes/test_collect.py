"""How missing votes are collected."""

import json

import pytest
from transformers import AutoTokenizer

from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.votes import collect
from tests.labelling.classify_parts import (
    ask,
    expected_labels,
    labels_of,
    open_vote_table,
    read_lines,
    requests_to,
    run_classify,
    running_server,
    write_questions,
)
from tests.labelling.tiny_teachers import build_model


@pytest.mark.parametrize(
    ("names", "on_tie", "fewest"),
    [("abcde", "system2", 3), ("abcd", "system2", 2), ("abcd", "drop", 3)],
)
def test_economy_gives_the_labels_of_full_voting_for_fewer_requests(
    tmp_path, names, on_tie, fewest
):
    data = write_questions(tmp_path / "data.jsonl", 100)
    with running_server() as server:
        full = ask(tmp_path / "full", data, server, names, on_tie=on_tie)
        everything = requests_to(server)
        thrifty = ask(tmp_path / "economy", data, server, names, on_tie=on_tie, economy=True)
        fewer = requests_to(server) - everything
    assert everything == 100 * len(names)
    assert labels_of(thrifty.folder) == labels_of(full.folder)
    saved = thrifty.manifest.counts["requests_saved"]["economy"]
    assert fewer == everything - saved
    assert saved > 50
    votes = [line["votes"] for line in read_lines(thrifty.folder / "labels.jsonl")]
    assert min(len(cast) for cast in votes) == fewest


def test_an_answer_without_a_label_is_asked_about_once_more_and_only_once(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 10)
    with running_server(fault_share=1.0, faults={"both": 1}) as server:
        first = ask(tmp_path / "run", data, server, "a")
        assert requests_to(server) == 20
        journal = first.folder / "votes.jsonl"
        lines = read_lines(journal)
        unsure = [line for line in lines if line.get("final") is False]
        assert [line["vote"] for line in unsure] == [None] * 10
        # Killed after the first answers: each question is asked once more, not twice.
        journal.write_text("".join(json.dumps(line) + "\n" for line in unsure))
        second = ask(tmp_path / "run", data, server, "a", seed=1)
        assert requests_to(server) == 30
    assert labels_of(second.folder) == expected_labels(second.folder, "a")


def test_answers_that_never_hold_a_label_are_no_votes_and_journaled(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 6)
    with running_server(always="I cannot say") as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
        assert requests_to(server) == 12
        ask(tmp_path / "run", data, server, "a", holdout=0.0, on_tie="system1")
        assert requests_to(server) == 12
    assert outcome.manifest.counts["undecided"] == 6
    assert outcome.manifest.counts["teachers"]["a"]["no_vote"] == 6
    lines = read_lines(outcome.folder / "labels.jsonl")
    assert {line["votes"]["a"] for line in lines} == {None}
    assert {line["agreement"] for line in lines} == {None}


@pytest.mark.parametrize(
    ("economy", "phases"),
    [(False, [[1, 3], [2], [0, 4, 5]]), (True, [[1, 3], [2], [0], [4], [5]])],
)
def test_free_teachers_are_asked_first(tmp_path, economy, phases):
    data = write_questions(tmp_path / "data.jsonl", 2)
    address = "http://127.0.0.1:9/v1"
    names = [f"a=m@{address}", "rules-cues", "hf:nowhere", "rules-shape"]
    names += [f"b=n@{address}", f"c=o@{address}"]
    with scratch_database(tmp_path / "classify") as database:
        table = open_vote_table(database, data, names, tmp_path / "votes.jsonl")
        assert collect._phases(table, economy) == phases


def test_rules_are_asked_in_batches_and_every_answer_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "_RULE_BATCH", 7)
    data = write_questions(tmp_path / "data.jsonl", 20)
    told = []
    outcome = run_classify(tmp_path / "run", data, ["rules-cues"], progress=told.append)
    assert [event.done for event in told if event.task == "rules"] == [7, 14, 20]
    counts = outcome.manifest.counts["teachers"]["rules-cues"]
    assert counts["system1"] + counts["system2"] == counts["asked"] == 20


def test_a_local_model_without_a_label_is_asked_once_more(tmp_path, tiny_model_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    folder = build_model(tmp_path / "model", "3", tokenizer)
    data = write_questions(tmp_path / "data.jsonl", 11)
    outcome = run_classify(tmp_path / "run", data, [f"t=hf:{folder}"], holdout=0.0)
    counts = outcome.manifest.counts["teachers"]["t"]
    assert (counts["requests"], counts["asked"], counts["no_vote"]) == (22, 11, 11)
    lines = read_lines(outcome.folder / "votes.jsonl")
    assert sum(line.get("final") is False for line in lines) == 11
    assert {line["text"] for line in lines} == {"System3"}
