"""From a completion to a verdict, by each of the rules that a task can name."""

from typing import Any

from lorapar_cli.evaluation.tasks.task import Item
from lorapar_cli.grading.answers import (
    answers_match,
    extract_answer,
    extract_choice,
    extract_strict,
    strict_match,
)
from lorapar_cli.grading.latex import latex_match
from lorapar_cli.grading.programs import to_program
from lorapar_cli.grading.sandbox.runner import run_programs

Sample = dict[str, Any]
"""One line of samples.jsonl."""


def grade(
    match: str, items: list[Item], completions: list[str], sandbox: str | None = None
) -> list[dict[str, Any]]:
    """Returns for each completion what was found in it and whether it is right.

    Args:
        match: `answer` (final answer, by the flexible rule, with the strict one beside it),
            `latex` (final answer, as mathematics), `exact` (the whole text, blanks around it aside), `choice` (an option's letter) or
            `code` (the program passes its tests).
        sandbox: Backend of `grading.sandbox.runner` for `code`.

    Returns:
        Dicts with `extracted` and `correct`; for `answer` also `extracted_strict` and
        `correct_strict`, for `code` also `reason`.
    """
    pairs = list(zip(items, completions, strict=True))
    if match == "code":
        if sandbox is None:
            raise AssertionError("code is judged in a sandbox only")
        programs = [to_program(item.code, text) for item, text in pairs if item.code]
        return [
            {"extracted": program.text, "correct": verdict.passed, "reason": verdict.reason}
            for program, verdict in zip(programs, run_programs(programs, sandbox), strict=True)
        ]
    rules = {
        "answer": _judge_answer,
        "exact": _judge_exact,
        "choice": _judge_choice,
        "latex": _judge_latex,
    }
    return [rules[match](text, item.reference) for item, text in pairs]


def _judge_answer(text: str, reference: str) -> dict[str, Any]:
    found, strict = extract_answer(text), extract_strict(text)
    return {
        "extracted": found,
        "correct": answers_match(found, reference),
        "extracted_strict": strict,
        "correct_strict": strict_match(strict, reference),
    }


def _judge_exact(text: str, reference: str) -> dict[str, Any]:
    return {"extracted": text.strip(), "correct": text.strip() == reference.strip()}


def _judge_choice(text: str, reference: str) -> dict[str, Any]:
    found = extract_choice(text)
    return {"extracted": found, "correct": found is not None and found == reference.strip().upper()}


def _judge_latex(text: str, reference: str) -> dict[str, Any]:
    found = extract_answer(text)
    return {"extracted": found, "correct": latex_match(found, reference)}
