"""Labelled records and JSON Lines: written and read back, and errors that name file and line."""

import os

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.records import (
    Record,
    count_systems,
    read_jsonl,
    read_records,
    write_jsonl,
    write_records,
)


def test_records_are_read_as_they_were_written(tmp_path):
    records = [
        Record("1", "q", "a", "4", System.SYSTEM1, {"t": System.SYSTEM1, "u": None}, 1.0),
        Record("2", [{"role": "user", "content": "ü\u2028"}], "b", extra={"source": "x"}),
    ]
    path = tmp_path / "labels.jsonl"
    assert write_records(path, records) == 2
    assert read_records(path) == records
    assert count_systems(records) == {"system1": 1, "system2": 0}


def test_extra_fields_follow_the_records_own():
    line = {"source": "x", "id": 7, "prompt": "q", "completion": "a"}
    record = Record.from_json(line)
    assert (record.id, record.extra) == ("7", {"source": "x"})
    assert list(record.to_json()) == [
        *("id", "prompt", "completion", "reference_answer", "label", "votes", "agreement"),
        "source",
    ]


def test_empty_lines_count_but_are_not_yielded(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1}\n{"a"\n', "f.jsonl:2` is not valid JSON"),
        (b'{}\n{"a": {"b": 1, "b": 1}}\n', "f.jsonl:2` names a key twice"),
        (b"[1]\n", "f.jsonl:1` is not a JSON object"),
        (b'{"a": "\xff"}\n', "is not UTF-8 text"),
        (None, "no such file"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "f.jsonl:1` is not valid JSON"),
        (b'{}\n{"a": "\\ud83e"}\n', "f.jsonl:2` is not valid text"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path, content, words):
    path = tmp_path / "f.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoraparError) as caught:
        list(read_jsonl(path))
    assert words in caught.value.what


@pytest.mark.parametrize("line", ['{"id": "1", "prompt": "q"}', '{"id": "1", "label": "system3"}'])
def test_a_line_that_is_not_a_labelled_record_is_named(tmp_path, line):
    path = tmp_path / "system1.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(LoraparError, match=r"system1\.jsonl:1` is not a labelled record"):
        read_records(path)


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("id", ["1"], "not text or a number"),
        ("prompt", 7, "not text or a list of messages"),
        ("prompt", [{"role": "user"}], "not text or a list of messages"),
        ("prompt", [{"role": "user", "content": None}], "not text or a list of messages"),
        ("completion", None, "not text"),
        ("reference_answer", 4, "not text or null"),
        ("label", ["system1"], "not `system1`, `system2` or null"),
        ("votes", ["system1"], "not an object of labels"),
        ("votes", {"t": "yes"}, "not an object of labels"),
        ("prompt", [], "not text or a list of messages"),
        ("id", float("nan"), "not text or a number"),
        ("agreement", "1", "not a number from 0 to 1 or null"),
        ("agreement", float("nan"), "not a number from 0 to 1 or null"),
        ("agreement", 1.5, "not a number from 0 to 1 or null"),
        ("agreement", -0.25, "not a number from 0 to 1 or null"),
        ("reference_answers", "a", "not a list of texts"),
        ("tools", ["clock"], "not a list of objects"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_line(tmp_path, field, value, found):
    good = Record("1", "q", "a").to_json()
    path = tmp_path / "system1.jsonl"
    write_jsonl(path, [good, good | {field: value}])
    with pytest.raises(LoraparError) as caught:
        read_records(path)
    assert caught.value.what == f"`{path}:2` is not a labelled record"
    assert caught.value.found.startswith(f"field `{field}` is {found}: ")


def test_what_only_some_records_have_is_written_for_those_only(tmp_path):
    tools = [{"type": "function", "function": {"name": "clock"}}]
    chat = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {}}]},
    ]
    plain = Record("1", "q", "a", "a")
    full = Record("2", chat, "a", "a", reference_answers=["a", "b"], tools=tools, extra={"x": 1})
    path = tmp_path / "labels.jsonl"
    write_records(path, [plain, full])
    assert read_records(path) == [plain, full]
    assert [list(line)[-3:] for _, line in read_jsonl(path)] == [
        ["label", "votes", "agreement"],
        ["reference_answers", "tools", "x"],
    ]
    assert plain.accepted_answers == ["a"]
    assert full.accepted_answers == ["a", "b"]
    assert Record("3", "q", "a").accepted_answers == []


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "f.jsonl")
    with pytest.raises(LoraparError, match="is not a file"):
        list(read_jsonl(tmp_path / "f.jsonl"))


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "f.jsonl"
    write_jsonl(path, [{"a": 1}])

    def lines():
        yield {"a": 2}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, lines())
    assert path.read_text() == '{"a": 1}\n'
