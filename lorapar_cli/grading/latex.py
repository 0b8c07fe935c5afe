"""Compares mathematical answers by value, through math-verify (extra `latex`).

For answers that are expressions, sets or intervals: `2\\sqrt{3}` and `\\sqrt{12}`. This is the
reward `latex`, and `--match latex` of `eval`.
"""

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.answers import answers_match, extract_answer

_SECONDS = 5


def check_latex() -> None:
    """Checks that math-verify is installed.

    Raises:
        LoraparError: It is not; names the extra.
    """
    try:
        import math_verify  # noqa: F401
    except ImportError as cause:
        raise LoraparError(
            "comparing expressions needs math-verify",
            hint="install it with `pip install 'lorapar[latex]'`",
        ) from cause


def latex_match(found: str | None, reference: str | None) -> bool:
    """Returns whether two final answers are equal by the flexible rule or as mathematics.

    Only for the main thread: math-verify stops an endless simplification by SIGALRM.
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
    """Returns 1 where the extracted answer equals the reference by `latex_match`, else 0.

    Raises:
        LoraparError: math-verify is not installed.
    """
    check_latex()
    return [
        float(latex_match(extract_answer(completion), reference))
        for completion, reference in zip(completions, references, strict=True)
    ]
