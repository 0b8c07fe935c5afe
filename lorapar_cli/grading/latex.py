"""Compares mathematical answers by value, through math-verify (extra `latex`).

For answers that are expressions, sets or intervals: `2\\sqrt{3}` and `\\sqrt{12}`. This is the
reward `latex`, and `--match latex` of `eval`. What the flexible rule calls equal is equal; beyond
that, math-verify is asked about formulas only, since of prose and units it reads what it likes.
"""

import re

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.answers import answers_match, extract_answer, read_reference
from lorapar_cli.libraries import require_libraries

_SECONDS = 5
# Of answers that are numbers, more than this share of the larger one is a difference.
_TOLERANCE = 1e-12
_DIGITS = 30
_ASSIGNED = re.compile(r"[A-Za-z](?:_\{?\w\}?)?(?:\([a-z]\))?\s*(?:=|\\in\b)(?!=)\s*")
_UNIT = re.compile(r"\\(?:text|mathrm)\s?\{[^{}]{0,40}\}\s*(?:\^\s?\{?\d\}?)?\s*$")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}|\b(?:or|is|no|to|if)\b", re.IGNORECASE)
_FUNCTIONS = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|pi|arcsin|arccos|arctan)\b")
_OPEN_SIGN = re.compile(r"\\(?:pm|mp)\b|±|∓")
_LONGEST = 500


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
    require_libraries(["math-verify"], "comparing expressions")


def latex_match(found: str | None, reference: str | None) -> bool:
    """Returns whether two final answers are equal by the flexible rule or as mathematics.

    Only for the main thread: math-verify stops an endless simplification by SIGALRM.
    """
    if found is None or reference is None:
        return False
    if answers_match(found, reference):
        return True
    ours, theirs = as_formula(found), as_formula(read_reference(reference))
    if ours is None or theirs is None or _is_signed_otherwise(ours, theirs):
        return False
    return _same_value(ours, theirs)


def as_formula(text: str) -> str | None:
    """Returns a final answer as a formula in LaTeX, None if it is anything else: words, a time."""
    formula = _UNIT.sub("", text.strip().strip("$").strip())
    if assigned := _ASSIGNED.match(formula):
        formula = formula[assigned.end() :]
    letters = _FUNCTIONS.sub("", _COMMAND.sub("", formula))
    if not formula or len(formula) > _LONGEST or _WORD.search(letters):
        return None
    return None if re.search(r"[:\n$=]|\\(?:text|mbox)\b", formula) else formula


def _is_signed_otherwise(one: str, other: str) -> bool:
    return bool(_OPEN_SIGN.search(one)) != bool(_OPEN_SIGN.search(other))


def _same_value(found: str, reference: str) -> bool:
    from math_verify import parse, verify

    ours, theirs = (
        parse(f"${text}$", parsing_timeout=_SECONDS, fallback_mode="no_fallback")
        for text in (found, reference)
    )
    if not (ours and theirs) or not verify(theirs, ours, timeout_seconds=_SECONDS):
        return False
    # math-verify rounds: to it, 1/2^98 equals 1/2^99, and 0.333333 a third.
    return _is_close(ours[0], theirs[0])


def _is_close(one: object, other: object) -> bool:
    """Returns whether two parsed answers agree to many digits where both are numbers."""
    from sympy import Expr

    if not (isinstance(one, Expr) and isinstance(other, Expr)):
        return True
    if not (one.is_number and other.is_number):
        return True
    a, b = one.evalf(_DIGITS), other.evalf(_DIGITS)
    return bool(abs(a - b) <= _TOLERANCE * max(abs(a), abs(b)))


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
