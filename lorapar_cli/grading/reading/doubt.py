"""Words by which a number or a letter is denied, bounded or offered as one of several."""

import re

# Said before an answer.
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot be|can't be|isn't|wasn't|aren't|without|except"
    r"|instead of|rather than)|n't(?: [a-z]{2,8})?|≠|!=)\s*(?:the |a |an |exactly |equal to |just |simply )*$",
    re.IGNORECASE,
)
_BOUNDED_BEFORE = re.compile(
    r"(?:\b(?:(?:more|less|fewer|greater|bigger|larger|smaller|higher|lower) than|between|over"
    r"|under|above|below|exceeds?|beyond)|(?<![=-])>=?|<=?(?![=-])|≤|≥)\s*(?:a |the )?$",
    re.IGNORECASE,
)
# Said after it, in the same clause.
_DENIED_AFTER = re.compile(
    r"\s*(?:[^\s.,;!?]{1,20}\s){0,4}?(?:(?:is|are|was|were|would be|seems|looks)\s"
    r"(?:[a-z]{1,12}\s){0,2}?)?"
    r"(?:not (?!includ|count|only|[-$€£]?\d)|wrong|incorrect|false|invalid|impossible|isn't|aren't|wasn't"
    r"|can't be|cannot be|n't be|too (?:big|small|large|high|low)|a mistake|off by)\b",
    re.IGNORECASE,
)
_ALTERNATIVE_AFTER = re.compile(
    r"\s*(?:[^\W\d]{1,15} ){0,2}?(?:or|and/or|vs\.?|versus)\b|\s?/\s?\d"
    r"|\s*(?:[^\W\d]{1,15} ){0,2}?(?:and|to|through|&)\s+[-$€£]?\d",
    re.IGNORECASE,
)


def is_denied_before(before: str) -> bool:
    """Returns whether the text before an answer denies it: `it is not`."""
    return _DENIED_BEFORE.search(before[-60:]) is not None


def is_bounded_before(before: str) -> bool:
    """Returns whether the text before a number makes it a bound: `more than`, `≥`."""
    return _BOUNDED_BEFORE.search(before[-40:]) is not None


def is_denied_after(after: str) -> bool:
    """Returns whether the text after an answer denies it: ` is wrong`."""
    return _DENIED_AFTER.match(after[:200]) is not None


def is_one_of_several(after: str) -> bool:
    """Returns whether the text after a number offers another one: ` or 20`, ` to 7 hours`."""
    return _ALTERNATIVE_AFTER.match(after[:120]) is not None
