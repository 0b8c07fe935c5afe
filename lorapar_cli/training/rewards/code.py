"""The `code` reward: whether the program that a completion stands for passes its tests.

A reference is the JSON text of an object with `prompt`, `entry_point` and `test`, in HumanEval's
meaning of these fields.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.programs import Code, to_program
from lorapar_cli.grading.sandbox.runner import Limits, run_programs
from lorapar_cli.store.records import Record
from lorapar_cli.training.rewards.builtin import Reward

_FIELDS = ("prompt", "entry_point", "test")


def describe_tests(row: Mapping[str, Any]) -> str:
    """Returns the reference of a row that has HumanEval's fields."""
    return json.dumps({field: row[field] for field in _FIELDS}, ensure_ascii=False)


def with_tests(record: Record) -> Record:
    """Returns the record with its tests as reference answer, or as it is where it has none."""
    row = record.extra | {"prompt": record.prompt}
    if not all(field in row for field in _FIELDS):
        return record
    return replace(record, reference_answer=describe_tests(row), reference_answers=[])


def code_reward(sandbox: str, limits: Limits | None = None) -> Reward:
    """Returns the reward function: 1 where all tests pass, else 0.

    Args:
        sandbox: Backend, from `grading.sandbox.runner.find_backend`.
        limits: What one program may use; None for the defaults.
    """

    def code(completions: list[str], references: list[str | None]) -> list[float]:
        programs = [
            to_program(_read_tests(reference), completion)
            for completion, reference in zip(completions, references, strict=True)
        ]
        return [float(result.passed) for result in run_programs(programs, sandbox, limits)]

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
