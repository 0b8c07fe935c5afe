"""HumanEval from local files: prompts of both styles, tests, packed files."""

import gzip
import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.humaneval import load_humaneval
from lorapar_cli.store.records import write_jsonl

ROW = {
    "task_id": "HumanEval/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
    "canonical_solution": "    return 1\n",
}


def load(data, **options):
    return load_humaneval(EvalOptions(task="humaneval", data=data, **options))


def test_both_styles(files):
    write_jsonl(files / "problems.jsonl", [ROW])
    trained, harness = (load("problems.jsonl", style=style) for style in ("trained", "harness"))
    assert "```python\ndef f():\n" in trained.items[0].prompt
    assert (trained.plain, trained.stop) == (False, [])
    assert harness.items[0].prompt == "def f():\n"
    assert harness.plain
    assert "\ndef" in harness.stop
    for task in (trained, harness):
        assert task.match == "code"
        (item,) = task.items
        assert (item.id, item.code.entry_point, item.code.test) == ("HumanEval/0", "f", ROW["test"])


def test_the_published_file_is_packed(files):
    with gzip.open(files / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(ROW) + "\n\n")
    task = load("HumanEval.jsonl.gz")
    assert [item.id for item in task.items] == ["HumanEval/0"]
    assert task.inputs["data"]["path"] == str(files / "HumanEval.jsonl.gz")
    (files / "HumanEval.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(LoraparError, match="cannot read"):
        load("HumanEval.jsonl.gz")


def test_a_row_without_a_needed_field_is_refused(files):
    with pytest.raises(LoraparError, match=r"gsm8k\.jsonl:1` is not a valid row") as caught:
        load("gsm8k.jsonl")
    assert "`task_id` is missing" in caught.value.found


@pytest.mark.parametrize("test", ["", "METADATA = {}\n", "def check(candidate):\n    pass\n"])
def test_tests_that_every_program_passes_are_refused(files, test):
    write_jsonl(files / "problems.jsonl", [ROW, ROW | {"task_id": "HumanEval/7", "test": test}])
    with pytest.raises(LoraparError, match="tests of `HumanEval/7` test nothing"):
        load("problems.jsonl")
