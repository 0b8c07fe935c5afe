"""Text from outside, made harmless before a person or a terminal sees it. Standard library only.

Names, answers and error texts of others are data: they must not move a cursor, change a title,
reverse the direction of a line, or show a key.
"""

import re
from collections.abc import Iterable

# Control characters but newline and tab; C1 controls; marks that change the direction of text; lone
# surrogates, by which Python stands for bytes of file names that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_REMOVED = "[removed]"
# Long enough that no ordinary word of a message is taken for part of a key.
_PART = 6
# The first group, where there is one, stays.
_LOOK_LIKE_KEYS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b()(?:sk|pk|rk|hf|gsk|xai|xox[abp]|gh[opsu]|glpat|akia|aiza|ya29)[-_.]?"
        r"(?=[\w\-]*\d)[\w\-]{8,}",
        r"\b()(?:sk|hf|gsk|xai|ghp)[-_][\w\-]{8,}",
        r"(\bbearer\s+)[^\s\"'<>]{4,}",
        r"(://)[^\s/@\"'<>]+(?=@)",
        r"([?&](?:api[_-]?)?(?:key|token|secret)=)[^\s&\"'<>]+",
        # A key of which only the ends are shown.
        r"()[\w\-]{2,}(?:\*{3,}|\.{3,}|\u2026)[\w\-]{2,}",
    )
]


def make_inert(text: str) -> str:
    """Returns the text with control characters spelled out: ESC as `\\x1b`."""
    return _UNSAFE.sub(lambda found: _spell(found[0]), text)


def _spell(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def escape_json(text: str) -> str:
    """Returns JSON text whose unsafe characters stand as `\\uXXXX`; it means the same value."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Returns the text without anything that is, or looks like, a key.

    Args:
        secrets: Keys that are known; parts of them of six characters and more go as well.
    """
    for pattern in _LOOK_LIKE_KEYS:
        text = pattern.sub(rf"\1{_REMOVED}", text)
    for secret in secrets:
        text = _without_parts(text, secret)
    return text


def _without_parts(text: str, secret: str) -> str:
    """Returns the text without the longest stretches of six or more characters of a secret."""
    if len(secret) < _PART:
        return text.replace(secret, _REMOVED) if secret else text
    parts = {secret[place : place + _PART] for place in range(len(secret) - _PART + 1)}
    kept, place = [], 0
    while place < len(text):
        if text[place : place + _PART] not in parts:
            kept.append(text[place])
            place += 1
            continue
        end = place + _PART
        while end < len(text) and text[end - _PART + 1 : end + 1] in parts:
            end += 1
        kept.append(_REMOVED)
        place = end
    return "".join(kept)
