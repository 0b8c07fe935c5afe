"""Logs of training: a resumed run goes on from what a log held, and refuses another."""

import hashlib
import json
import os

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.step_log import StepLog

ODD = "next line \x85, line separator \u2028, form feed \x0c, \n and \r\n"


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_a_new_log_starts_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    StepLog(path)
    assert path.read_bytes() == b""


def test_a_new_log_takes_the_place_of_what_is_not_a_file(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    for path in (pipe, link):
        StepLog(path).append([{"step": 1}])
        assert read(path) == [{"step": 1}]
    assert not (tmp_path / "elsewhere.jsonl").exists()


def test_a_log_goes_on_from_a_state_whatever_its_lines_contain(tmp_path):
    path = tmp_path / "completions.jsonl"
    log = StepLog(path)
    log.append([{"step": step, "completion": ODD} for step in (1, 1, 2, 2)])
    state = log.state()
    assert state == {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    log.append([{"step": 3, "completion": ODD}])
    torn = json.dumps({"step": 3, "completion": "ü"}, ensure_ascii=False).encode()
    with open(path, "ab") as file:
        file.write(torn[: torn.index("ü".encode()) + 1])
    again = StepLog(path, state)
    assert again.state() == state
    again.append([{"step": 3, "completion": ODD}])
    assert read(path) == [{"step": step, "completion": ODD} for step in (1, 1, 2, 2, 3)]
    assert again.state() == log.state()


def test_a_log_that_has_changed_is_not_gone_on_with(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = StepLog(path)
    log.append([{"step": 1, "loss": 0.5}])
    state = log.state()
    path.write_text('{"step": 1, "loss": 0.6}\n')
    with pytest.raises(LoraparError, match="not the log"):
        StepLog(path, state)
    assert read(path) == [{"step": 1, "loss": 0.6}]


@pytest.mark.parametrize("way", ["gone", "gone with its folder", "shorter", "longer"])
def test_a_log_that_somebody_removes_or_changes_is_not_written_on(tmp_path, way):
    path = tmp_path / "train-sft" / "metrics.jsonl"
    log = StepLog(path)
    log.append([{"step": 1}, {"step": 2}])
    log.require_intact()
    if way == "longer":
        path.write_text(path.read_text() + "more")
    elif way == "shorter":
        path.write_text('{"step": 1}\n')
    else:
        path.unlink()
        if way != "gone":
            path.parent.rmdir()
    for call in (log.require_intact, lambda: log.append([{"step": 3}])):
        with pytest.raises(LoraparError, match="removed or changed"):
            call()
    assert '"step": 3' not in (path.read_text() if path.exists() else "")
