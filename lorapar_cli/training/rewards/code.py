"""The `code` reward: whether the program that a completion stands for passes its tests.

A reference is the JSON text of an object with `prompt`, `entry_point` and `test`, in HumanEval's
meaning of these fields.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.program_tests import check_tests
from lorapar_cli.grading.programs import Code, run_found
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.store.records import Record
from lorapar_cli.training.rewards.builtin import Reward

_FIELDS = ("prompt", "entry_point", "test")


def describe_tests(row: Mapping[str, Any]) -> str:
    """Returns the reference of a row that has HumanEval's fields."""
    return json.dumps({field: row[field] for field in _FIELDS})


def with_tests(record: Record) -> Record:
    """Returns the record with its tests as reference answer, or as it is where it has none."""
    row = record.extra | {"prompt": record.prompt}
    if not all(field in row for field in _FIELDS):
        return record
    return replace(record, reference_answer=describe_tests(row), reference_answers=[])


def check_record_tests(records: Iterable[Record]) -> None:
    """Refuses records whose tests are missing, or that every program would pass.

    Raises:
        LoraparError: A record has no tests, or tests that test nothing; names it.
    """
    for record in records:
        check_tests(_read_tests(record.reference_answer), f"record `{record.id}`")


def code_reward(sandbox: Sandbox) -> Reward:
    """Returns the reward function: 1 where all tests pass, else 0."""

    def code(completions: list[str], references: list[str | None]) -> list[float]:
        tasks = [_read_tests(reference) for reference in references]
        for number, task in enumerate(tasks):
            check_tests(task, f"completion {number + 1}")
        return [float(each.passed) for each in run_found(tasks, completions, sandbox)]

    return code


def _read_tests(reference: str | None) -> Code:
    try:
        fields = json.loads(reference or "")
        return Code(*(str(fields[field]) for field in _FIELDS))
    except (ValueError, KeyError, TypeError) as cause:
        raise LoraparError(
            "a record has no tests for the reward `code`",
            f"its reference answer is {(reference or '')[:80]!r}",
            'it must be the JSON text of {"prompt": ..., "entry_point": ..., "test": ...}',
        ) from cause
