"""From a completion to a verdict, by each of the rules that a task can name."""

from typing import Any

from lorapar_cli.grading.answers import (
    answers_match,
    extract_answer,
    extract_choice,
    extract_strict,
    strict_match,
)
from lorapar_cli.grading.latex import latex_match
from lorapar_cli.grading.programs import Code, to_program
from lorapar_cli.grading.sandbox.runner import run_programs

Sample = dict[str, Any]
"""One line of samples.jsonl."""


def grade(
    match: str,
    completions: list[str],
    references: list[str],
    programs: list[Code] | None = None,
    sandbox: str | None = None,
) -> list[dict[str, Any]]:
    """Returns for each completion what was found in it and whether it is right.

    Args:
        match: `answer` (final answer, by the flexible rule, with the strict one beside it),
            `latex` (final answer, as mathematics), `exact` (the whole text, blanks around it aside), `choice` (an option's letter) or
            `code` (the program passes its tests).
        references: What is right, one for each completion; not read for `code`.
        programs: The tests of each completion, for `code`.
        sandbox: Backend of `grading.sandbox.runner` for `code`.

    Returns:
        Dicts with `extracted` and `correct`; for `answer` also `extracted_strict` and
        `correct_strict`, for `code` also `reason`.
    """
    if match == "code":
        if sandbox is None or programs is None:
            raise AssertionError("code is judged by its tests, in a sandbox only")
        written = [to_program(c, text) for c, text in zip(programs, completions, strict=True)]
        return [
            {"extracted": program.text, "correct": result.passed, "reason": result.reason}
            for program, result in zip(written, run_programs(written, sandbox), strict=True)
        ]
    rules = {
        "answer": _judge_answer,
        "exact": _judge_exact,
        "choice": _judge_choice,
        "latex": _judge_latex,
    }
    return [rules[match](text, right) for text, right in zip(completions, references, strict=True)]


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
