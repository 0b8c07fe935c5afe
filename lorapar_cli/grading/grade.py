"""Grades completions by each of the rules that a task can name."""

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from lorapar_cli.grading.answers import (
    answers_match,
    choices_match,
    extract_answer,
    extract_choice,
    extract_strict,
    strict_match,
)
from lorapar_cli.grading.latex import latex_match
from lorapar_cli.grading.programs import Code, run_completions
from lorapar_cli.grading.sandbox.runner import Failure, Sandbox


class Grade(TypedDict):
    """What was found in one completion, and whether it is right.

    Keys:
        extracted: The answer, choice, text or program that was graded; None if there is none.
        correct: Whether it is right.
        extracted_strict, correct_strict: The same by the strict rule; for `answer` only.
        correct_plain: Whether the completion passes its tests as it stands, behind the prompt; for
            `code` only.
        reason, failure: Why a program fails its tests, in words and by kind; empty and None if it
            passes; for `code` only.
    """

    extracted: str | None
    correct: bool
    extracted_strict: NotRequired[str | None]
    correct_strict: NotRequired[bool]
    correct_plain: NotRequired[bool]
    reason: NotRequired[str]
    failure: NotRequired[Failure | None]


def grade(
    match: str,
    completions: list[str],
    references: list[str],
    programs: list[Code] | None = None,
    sandbox: Sandbox | None = None,
    others: Sequence[Sequence[str]] | None = None,
) -> list[Grade]:
    """Returns the grade of each completion.

    Args:
        match: `answer` (the final answer, by the flexible rule and also by the strict one), `latex`
            (the final answer, as mathematics), `exact` (the whole text, ignoring whitespace around
            it), `choice` (an option's letter) or `code` (the program passes its tests).
        references: What is right, one per completion; not read for `code`.
        programs: The programming task of each completion, for `code`.
        sandbox: How programs are run, for `code`.
        others: Further answers that are accepted, for each completion; None for none. The strict
            rule knows only that in `references`, as the harness does.
    """
    if match == "code":
        if sandbox is None or programs is None:
            raise AssertionError("programs are graded by tests, in a sandbox only")
        return [
            {
                "extracted": found.text,
                "correct": found.result.passed,
                "correct_plain": found.plain.passed,
                "reason": found.result.reason,
                "failure": found.result.failure,
            }
            for found in run_completions(programs, completions, sandbox)
        ]
    rule, more = _RULES[match], others or [()] * len(completions)
    return [
        _grade_any(rule, text, [reference, *further])
        for text, reference, further in zip(completions, references, more, strict=True)
    ]


def _grade_any(rule: Callable[[str, str], Grade], text: str, accepted: list[str]) -> Grade:
    """Returns the grade by the first accepted answer, right where any of them is."""
    grades = [rule(text, reference) for reference in accepted]
    best = next((each for each in grades if each["correct"]), grades[0])
    return grades[0] | {"extracted": best["extracted"], "correct": best["correct"]}


def _grade_answer(text: str, reference: str) -> Grade:
    found, strict = extract_answer(text), extract_strict(text)
    return {
        "extracted": found,
        "correct": answers_match(found, reference),
        "extracted_strict": strict,
        "correct_strict": strict_match(strict, reference),
    }


def _grade_exact(text: str, reference: str) -> Grade:
    return {"extracted": text.strip(), "correct": text.strip() == reference.strip()}


def _grade_choice(text: str, reference: str) -> Grade:
    found = extract_choice(text)
    return {"extracted": found, "correct": choices_match(found, reference)}


def _grade_latex(text: str, reference: str) -> Grade:
    found = extract_answer(text)
    return {"extracted": found, "correct": latex_match(found, reference)}


_RULES: dict[str, Callable[[str, str], Grade]] = {
    "answer": _grade_answer,
    "exact": _grade_exact,
    "choice": _grade_choice,
    "latex": _grade_latex,
}
