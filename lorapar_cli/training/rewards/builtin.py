"""Rewards by name: plain functions from completions and reference answers to numbers from 0 to 1.

`answer`, `integer` and `choice` extract answers as labelling and evaluation do; `format-strict`,
`format-soft` and `tags` are the paper's, for models that answer in
`<reasoning>...</reasoning><answer>...</answer>`; `format` rewards any explicit form of answer.
"""

import math
import re
from collections.abc import Callable, Sequence

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.grading.answers import (
    answers_match,
    choices_match,
    explicit_answers,
    extract_answer,
    extract_choice,
    parse_number,
    visible,
)
from lorapar_cli.training.rewards.names import CODE, LATEX

Reward = Callable[[list[str], list[str | None]], list[float]]

_STRICT = re.compile(r"<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n?", re.DOTALL)
_SOFT = re.compile(r"\s*<reasoning>.*?</reasoning>\s*<answer>.*?</answer>", re.DOTALL)
_TAGS = ("<reasoning>\n", "\n</reasoning>\n", "\n<answer>\n", "\n</answer>")
# The paper subtracts 0.001 per character from a maximum of 0.5; here the maximum is 1.
_TAG_SHARE = 0.25
_PER_TRAILING_CHARACTER = 0.002


def answer(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the extracted answer matches the reference, else 0.

    Without a reference the value is 0.
    """
    return [
        float(answers_match(extract_answer(completion), reference))
        for completion, reference in zip(completions, references, strict=True)
    ]


def integer(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the extracted answer is a whole number, else 0."""
    return [float(_is_whole(extract_answer(completion))) for completion in completions]


def _is_whole(found: str | None) -> bool:
    number = None if found is None else parse_number(found)
    return number is not None and number.denominator == 1


def format(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the completion has exactly one explicit answer and ends with it, else 0."""
    return [float(_ends_in_one_answer(completion)) for completion in completions]


def _ends_in_one_answer(completion: str) -> bool:
    found = explicit_answers(completion)
    return len(found) == 1 and not visible(completion)[found[0].end :].strip(" \t\r\n.$")


def format_strict(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the completion consists of the two tagged parts, each tag on its own line.

    Differs: the authors' pattern allows no line break within the parts; ours does.
    """
    return [float(_STRICT.fullmatch(completion) is not None) for completion in completions]


def format_soft(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the completion begins with the two tagged parts in order, else 0."""
    return [float(_SOFT.match(completion) is not None) for completion in completions]


def tags(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns a quarter per tag that occurs exactly once, minus a penalty for text after the last.

    Differs: scaled to 1 (the weight 0.5 gives the paper's values) and never below 0.
    """
    return [_count_tags(completion) for completion in completions]


def _count_tags(completion: str) -> float:
    score = sum(_TAG_SHARE for tag in _TAGS if completion.count(tag) == 1)
    _, closing_tag, trailing = completion.rpartition("\n</answer>")
    penalty = _PER_TRAILING_CHARACTER * len(trailing.strip()) if closing_tag else 0.0
    return max(0.0, score - penalty)


def choice(completions: list[str], references: list[str | None]) -> list[float]:
    """Returns 1 where the chosen option's letter is the reference's, else 0."""
    return [
        float(choices_match(extract_choice(completion), reference))
        for completion, reference in zip(completions, references, strict=True)
    ]


REWARDS: dict[str, Reward] = {
    "answer": answer,
    "integer": integer,
    "format": format,
    "format-strict": format_strict,
    "format-soft": format_soft,
    "tags": tags,
    "choice": choice,
}

# Source: LoRA-PAR Sec. 4, GRPO rewards.
PAPER_WEIGHTS = {
    "answer": 2.0,
    "integer": 0.5,
    "format-strict": 0.5,
    "format-soft": 0.5,
    "tags": 0.5,
}


def parse_weights(text: str, also: Sequence[str] = ()) -> dict[str, float]:
    """Returns reward name -> weight of an option such as `answer=2,format=0.5`.

    A name without a weight has weight 1; `paper` alone gives the paper's weights; underscores
    count as hyphens.

    Args:
        also: Names that are valid besides the known ones.

    Raises:
        UsageError: An unknown or repeated name, or a weight that is not a positive number.
    """
    if text.strip() == "paper":
        return dict(PAPER_WEIGHTS)
    # Of the functions that are there, and those that need more than a function.
    valid = [*REWARDS, LATEX, CODE, *also]
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = (piece.strip() for piece in part.partition("="))
        name = name if name in also else name.replace("_", "-")
        if name not in valid:
            raise UsageError(
                f"unknown reward `{name}`{nearest(name, valid)}", text, f"known: {', '.join(valid)}"
            )
        if name in weights:
            raise UsageError(f"reward `{name}` is named twice", text)
        weights[name] = _parse_weight(name, weight)
    if not weights:
        raise UsageError("no reward is named", repr(text), f"known: {', '.join(valid)}")
    return weights


def _parse_weight(name: str, text: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(f"weight of reward `{name}` is not a positive number", repr(text))
    return weight
