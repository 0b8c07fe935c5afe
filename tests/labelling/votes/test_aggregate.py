"""From votes to labels."""

import pytest

from lorapar_cli.errors import LoraparError
from tests.labelling.classify_parts import (
    RULES,
    ask,
    expected_labels,
    labels_of,
    read_lines,
    run_classify,
    running_server,
    write_corpus,
    write_questions,
)


def test_on_tie_error_names_records_and_writes_no_result(tmp_path, corpus):
    with pytest.raises(LoraparError, match="records have no majority") as error:
        run_classify(tmp_path / "run", corpus, RULES[1:], on_tie="error")
    assert "train-" in error.value.found
    assert not (tmp_path / "run" / "classify" / "manifest.json").exists()


def test_weighted_votes_follow_the_reliable_teacher(tmp_path):
    data = write_corpus(tmp_path / "corpus.jsonl", per_system=500)
    outcome = run_classify(tmp_path / "run", data, vote="weighted", holdout=0.0)
    reliability = outcome.manifest.metrics["reliability"]
    assert set(reliability) == set(RULES)
    assert all(0 < value < 1 for hits in reliability.values() for value in hits.values())
    assert outcome.manifest.metrics["accuracy"]["vote"] > 0.9


def test_a_teacher_that_dies_is_reported_and_the_run_goes_on_later(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(dead_after={"model-b": 20}) as server:
        with pytest.raises(LoraparError, match="not every teacher answered") as error:
            ask(tmp_path / "run", data, server, "abc", retries=3)
        assert "`b`: 20 of 60 questions answered, then it failed: server error 500" in str(
            error.value
        )
        assert "--min-votes" in error.value.hint
        assert not (tmp_path / "run" / "classify" / "manifest.json").exists()
        before = server.stats()
        options = {"retries": 1, "min_votes": 2}
        quorum = ask(tmp_path / "run", data, server, "abc", **options)
        after = server.stats()
        first = (quorum.folder / "labels.jsonl").read_bytes()
        again = ask(tmp_path / "run", data, server, "abc", **options)
    # The two healthy teachers had answered everything; nobody is asked again but the dead one.
    assert before["billed"] == after["billed"]
    assert quorum.manifest.counts["records"] == 60
    assert any("teacher b answered 0 of 40" in note for note in quorum.manifest.notes)
    lines = read_lines(quorum.folder / "labels.jsonl")
    assert {len(line["votes"]) for line in lines} == {2, 3}
    # It is not up to date for ever: while the teacher is away all stays as it is, and once it is
    # back the same command asks what is missing, and nothing else.
    assert quorum.manifest.counts["unanswered"] == again.manifest.counts["unanswered"] == 40
    assert (again.folder / "labels.jsonl").read_bytes() == first
    with running_server() as server:
        back = ask(tmp_path / "run", data, server, "abc", **options)
        assert server.stats()["requests"] == {"model-b": 40}
        assert not ask(tmp_path / "run", data, server, "abc", **options).fresh
    assert back.manifest.counts["unanswered"] == 0
    assert labels_of(back.folder) == expected_labels(back.folder, "abc")
