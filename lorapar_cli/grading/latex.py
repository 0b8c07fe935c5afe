"""Compares mathematical answers by what they mean, through math-verify (extra `latex`).

For answers that are expressions, sets or intervals: `2\\sqrt{3}` and `\\sqrt{12}`. It is the reward
`latex`, and in `eval` `--match latex`.
"""

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.answers import answers_match, extract_answer

_SECONDS = 5


def check_latex() -> None:
    """Raises LoraparError where math-verify is not installed."""
    try:
        import math_verify  # noqa: F401
    except ImportError as cause:
        raise LoraparError(
            "comparing expressions needs math-verify",
            hint="install it with `pip install 'lorapar[latex]'`",
        ) from cause


def latex_match(found: str | None, reference: str | None) -> bool:
    """Returns whether two final answers are equal by the flexible rule or as mathematics.

    Runs in the main thread only: what stops an endless simplification is an alarm.
    """
    if found is None or reference is None:
        return False
    if answers_match(found, reference):
        return True
    from math_verify import parse, verify

    ours, theirs = (
        parse(text if "$" in text else f"${text}$", parsing_timeout=_SECONDS)
        for text in (found, reference)
    )
    return bool(ours and theirs) and verify(theirs, ours, timeout_seconds=_SECONDS)


def latex(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the extracted answer equals the reference as mathematics, else 0."""
    check_latex()
    return [
        float(latex_match(extract_answer(completion), reference))
        for completion, reference in zip(completions, references, strict=True)
    ]
