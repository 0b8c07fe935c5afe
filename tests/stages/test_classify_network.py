"""Classify against a server on loopback that does everything a provider does."""

import pytest
from classify_parts import (
    expected_labels,
    labels_of,
    read_lines,
    running_server,
    write_questions,
)

from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.asking import Clock, Manner
from lorapar_cli.stages.classify import classify
from lorapar_cli.store.rundir import RunDir


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_faults_of_every_kind_change_no_label_and_no_question_is_billed_twice(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1000)
    manner = Manner(concurrency=16, timeout=400, clock=Clock(speed=100))
    with running_server(fault_share=0.25) as server:
        outcome = classify(
            RunDir(tmp_path / "run"),
            data=str(data),
            teachers=[server.teacher(name) for name in "abc"],
            manner=manner,
        )
        stats = server.stats()
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "abc")
    assert len(stats["billed"]) == 3000
    assert set(stats["billed"].values()) == {1}
    counts = outcome.manifest.counts["teachers"]
    assert sum(row["too_many_requests"] for row in counts.values()) > 50
    assert sum(row["retries"] for row in counts.values()) > 300
    assert all(row["no_vote"] == 0 for row in counts.values())
