"""Your own records: references by rule, groups, records without a reference."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.own_records import load_own_records
from lorapar_cli.names import System
from lorapar_cli.store.records import Record, write_jsonl, write_records


def test_a_reference_by_each_rule(tmp_path):
    path = tmp_path / "own.jsonl"
    write_jsonl(path, [{"instruction": "Say hi", "output": " hi there "}])
    exact = load_own_records(EvalOptions(data=str(path), match="exact"))
    assert (exact.match, exact.items[0].reference) == ("exact", "hi there")
    write_jsonl(path, [{"question": "Pick", "choices": ["x", "y"], "answer": 1}])
    choice = load_own_records(EvalOptions(data=str(path), match="choice"))
    assert choice.items[0].reference == "B"


def test_all_accepted_answers_of_a_record_are_kept(tmp_path):
    path = tmp_path / "own.jsonl"
    write_jsonl(
        path,
        [
            {"question": "Capital?", "answer": ["Paris", "paris, France"]},
            {"question": "1+1?", "answer": "#### 2"},
        ],
    )
    several, one = load_own_records(EvalOptions(data=str(path))).items
    assert (several.reference, several.reference_answers) == ("Paris", ("Paris", "paris, France"))
    assert (one.reference, one.reference_answers) == ("2", ())
    exact = load_own_records(EvalOptions(data=str(path), match="exact")).items
    assert [item.reference for item in exact] == ["Paris", "#### 2"]
    assert [item.reference_answers for item in exact] == [("Paris", "paris, France"), ()]


def test_groups_are_labels_and_steps(tmp_path):
    path = tmp_path / "own.jsonl"
    write_records(path, [Record("a", "1+1?", "#### 2", "2", System.SYSTEM1, extra={"steps": 0})])
    (item,) = load_own_records(EvalOptions(data=str(path))).items
    assert item.groups == {"system": "system1", "steps": "0"}
    write_jsonl(path, [{"question": "1+1?", "answer": "#### 2", "label": "system2"}])
    (item,) = load_own_records(EvalOptions(data=str(path))).items
    assert item.groups == {"system": "system2"}


def test_tools_of_a_record_are_kept_for_its_prompt(tmp_path):
    path = tmp_path / "own.jsonl"
    tools = [{"type": "function", "function": {"name": "clock"}}]
    messages = [{"role": "user", "content": "Time?"}, {"role": "assistant", "content": "12:30"}]
    write_jsonl(path, [{"messages": messages, "tools": tools}])
    (item,) = load_own_records(EvalOptions(data=str(path))).items
    assert (item.prompt, item.reference, item.tools) == ("Time?", "12:30", tools)


def test_records_without_a_reference_are_excluded_and_counted(tmp_path):
    path = tmp_path / "own.jsonl"
    unknown = {"instruction": "Hi", "output": "Well, hello"}
    write_jsonl(path, [unknown, {"question": "1+1?", "answer": "#### 2"}])
    task = load_own_records(EvalOptions(data=str(path)))
    assert (len(task.items), task.without_reference) == (1, 1)
    write_jsonl(path, [unknown])
    with pytest.raises(LoraparError, match=r"no record in `.*` has a reference answer"):
        load_own_records(EvalOptions(data=str(path)))


def test_data_must_be_named():
    with pytest.raises(UsageError, match="no records are named"):
        load_own_records(EvalOptions())
