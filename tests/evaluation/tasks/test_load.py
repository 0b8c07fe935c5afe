"""Every task has a loader, and what is wrong with its items is refused."""

from typing import get_args

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions, TaskName
from lorapar_cli.evaluation.tasks.load import LOADERS, load_task
from lorapar_cli.store.records import write_jsonl


def test_every_task_has_a_loader():
    assert set(LOADERS) == set(get_args(TaskName))


@pytest.mark.parametrize("task", ["gsm8k", "mmlu"])
def test_a_task_knows_its_name(files, task):
    loaded = load_task(EvalOptions(task=task, data=f"{task}.jsonl", num_fewshot=0))
    assert loaded.name == task
    assert len(loaded.items) == {"gsm8k": 9, "mmlu": 8}[task]


def test_a_task_without_records_is_refused(files):
    (files / "empty.jsonl").write_text("")
    with pytest.raises(LoraparError, match=r"no records in `empty\.jsonl`"):
        load_task(EvalOptions(task="gsm8k", data="empty.jsonl"))


def test_two_records_of_one_id_are_refused(files):
    write_jsonl(files / "twice.jsonl", [{"id": "a", "question": "1+1?", "answer": "#### 2"}] * 2)
    for task in ("data", "gsm8k"):
        with pytest.raises(LoraparError, match="two records have the id `a`"):
            load_task(EvalOptions(task=task, data="twice.jsonl"))
