"""What a name stands for: files, patterns, hub ids, missing files; and what a reading counts."""

import json

import pytest

from lorapar_cli.data.formats import Fields
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def records_of(path, **options):
    return list(open_source(str(path), **options).records())


def test_several_files_and_patterns_are_one_data_set(tmp_path):
    for number in range(3):
        rows = [{"question": f"{number}?", "answer": f"#### {number}"}]
        write_jsonl(tmp_path / f"part-{number}.jsonl", rows)
    (tmp_path / "last.csv").write_text("question,answer\n9?,9\n")
    names = [str(tmp_path / "last.csv"), str(tmp_path / "part-[01].jsonl")]
    source = open_source(names)
    assert [r.prompt for r in source.records()] == ["9?", "0?", "1?"]
    assert list(source.inputs()) == ["data", "data-2", "data-3"]
    assert source.inputs()["data-3"]["path"] == str(tmp_path / "part-1.jsonl")
    assert [r.prompt for r in open_source(names, limit=2).records()] == ["9?", "0?"]
    assert source.describe()["sha256"] != open_source(names[:1]).describe()["sha256"]
    one = open_source(names[:1])
    assert one.inputs() == {"data": one.describe()}
    with pytest.raises(LoraparError, match="no file matches"):
        open_source(str(tmp_path / "*.tsv"))


def test_a_name_with_brackets_is_first_a_file(tmp_path):
    path = write_jsonl(tmp_path / "d[1].jsonl", [{"question": "q", "answer": "a"}])
    assert len(records_of(path)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "data.jsonl",
        "./data",
        "../data",
        "/data",
        "data/",
        "a/b/c",
        "there/missing",
        "data.jsonl.gz",
        "data.txt",
        "data.xlsx",
        "org/data.csv",
        "~/data",
        "https://host/data.jsonl",
        "",
    ],
)
def test_a_missing_file_is_never_looked_up_on_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(LoraparError, match="no such data file") as error:
        open_source(name)
    assert "standard input" in error.value.hint


@pytest.mark.parametrize("name", ["gsm8k", "org/data", "org/Data-2.5", "org/v1.0_x"])
def test_hub_ids_are_left_to_datasets(tmp_path, monkeypatch, name):
    """Offline, as tests are, the hub has no data set."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoraparError, match=f"cannot load data set `{name}`"):
        list(open_source(name).records())


def test_records_without_a_reference_are_counted(tmp_path):
    rows = [
        {"question": "1?", "answer": "#### 1"},
        {"question": "2?", "answer": "It depends on how you count them."},
        {"question": "3?", "answer": "H2O"},
        {"instruction": "4?", "output": "There are many ways to do this."},
    ]
    source = open_source(str(write_jsonl(tmp_path / "d.jsonl", rows)))
    for _ in range(2):
        assert len(list(source.records())) == 4
        assert source.without_reference == 2


def test_unused_parts_of_questions_are_counted_by_name(tmp_path):
    rows = [{"question": f"{i}?", "answer": "1", "hint": "x" if i % 2 else ""} for i in range(10)]
    rows[0]["document"] = "A long text."
    source = open_source(str(write_jsonl(tmp_path / "d.jsonl", rows)))
    for _ in range(2):
        assert len(list(source.records())) == 10
        assert source.unused == {"hint": 5, "document": 1}


def test_every_turn_counts_towards_the_limit(tmp_path):
    messages = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": str(i)} for i in range(6)
    ]
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": messages}] * 2)
    read = records_of(path, fields=Fields(turns="all"))
    assert [record.completion for record in read] == ["1", "3", "5"] * 2
    assert len(records_of(path, fields=Fields(turns="all"), limit=4)) == 4
