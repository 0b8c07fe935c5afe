"""Journals: nothing is lost in a kill, and nothing counts that depends on something else."""

import json

import pytest

from lorapar_cli.store.journal import Journal, digest_of

LINES = [{"n": 0, "text": "a"}, {"n": 1, "text": "ä\ud83d"}, {"n": 2, "text": "c"}]


@pytest.fixture
def written(tmp_path):
    journal = Journal(tmp_path, "answers", "x")
    journal.append(LINES[:2])
    journal.append(LINES[2:])
    return tmp_path / "unfinished-answers.jsonl"


def test_lines_are_read_back_and_more_follow(tmp_path, written):
    journal = Journal(tmp_path, "answers", "x")
    assert journal.lines == LINES
    journal.append([{"n": 3}])
    assert Journal(tmp_path, "answers", "x").lines == [*LINES, {"n": 3}]


def test_what_depends_on_something_else_does_not_count(tmp_path, written):
    assert Journal(tmp_path, "answers", "y").lines == []
    # Nor is it mixed with what now follows.
    Journal(tmp_path, "answers", "y").append([{"n": 9}])
    assert Journal(tmp_path, "answers", "y").lines == [{"n": 9}]
    assert Journal(tmp_path, "answers", "x").lines == []


@pytest.mark.parametrize("cut", [1, 5])
def test_half_a_line_is_made_again(tmp_path, written, cut):
    written.write_bytes(written.read_bytes()[:-cut])
    journal = Journal(tmp_path, "answers", "x")
    assert journal.lines == LINES[:2]
    journal.append(LINES[2:])
    assert Journal(tmp_path, "answers", "x").lines == LINES


def test_a_changed_line_ends_what_counts(tmp_path, written):
    lines = written.read_bytes().splitlines(keepends=True)
    changed = json.loads(lines[1]) | {"text": "forged"}
    written.write_bytes(lines[0] + json.dumps(changed).encode() + b"\n" + lines[2])
    assert Journal(tmp_path, "answers", "x").lines == LINES[:1]


def test_without_its_digests_nothing_counts(tmp_path, written):
    written.with_suffix(".txt").unlink()
    assert Journal(tmp_path, "answers", "x").lines == []


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_replaced(tmp_path, kind):
    path = tmp_path / "unfinished-answers.jsonl"
    target = tmp_path / "elsewhere"
    target.write_text("kept")
    path.mkdir() if kind == "folder" else path.symlink_to(target)
    Journal(tmp_path, "answers", "x").append(LINES)
    assert Journal(tmp_path, "answers", "x").lines == LINES
    assert target.read_text() == "kept"


def test_digests_depend_on_content_not_on_order_of_keys():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
