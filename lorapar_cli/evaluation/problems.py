"""What is wrong with completions, counted: no answer, truncated, and why programs fail."""

import re
from collections.abc import Sequence

from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.evaluation.tasks.task import Rule
from lorapar_cli.stage_records.evaluation import Problems

_BY_REASON = {
    "timeout": re.compile(r"no result within "),
    "syntax error": re.compile(r"(?:Syntax|Indentation|Tab)Error\b"),
    "memory": re.compile(r"MemoryError\b"),
    "assertion": re.compile(r"AssertionError\b"),
    "exit": re.compile(r"the program ended"),
}


def count_problems(match: Rule, samples: Sequence[Sample]) -> Problems:
    """Returns how many completions have each problem that completions of a task can have.

    Args:
        match: The rule of grading, any but `likelihood`.
        samples: All completions that are counted.
    """
    failures = [why_failed(sample) for sample in samples] if match == "code" else []
    counted: Problems = {
        "no_answer": failures.count("no program")
        if match == "code"
        else sum(not sample["extracted"] for sample in samples)
    }
    if all("finished" in sample for sample in samples):
        counted["cut"] = sum(not sample["finished"] for sample in samples)
    if match == "code":
        counted |= {
            "syntax_error": failures.count("syntax error"),
            "timeout": failures.count("timeout"),
            "memory": failures.count("memory"),
            "assertion": failures.count("assertion"),
            "exception": failures.count("exception"),
            "exit": failures.count("exit"),
        }
    return counted


def why_failed(sample: Sample) -> str | None:
    """Returns the kind of failure of a program, None if it passes its tests."""
    if sample["correct"]:
        return None
    if (failure := sample.get("failure")) is not None:
        return failure
    reason = sample.get("reason", "")
    return next((kind for kind, said in _BY_REASON.items() if said.match(reason)), "exception")
