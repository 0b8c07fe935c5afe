"""Text from outside, made harmless before a person or a terminal sees it. Standard library only.

Names, answers and error texts of others are data: they must not move a cursor, change a title,
reverse the direction of a line, or show a key.
"""

import base64
import itertools
import re
import string
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote

# Control characters but newline and tab; C1 controls; separators of lines and paragraphs; marks that
# change the direction of text; lone surrogates, by which Python stands for bytes of file names that
# are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_REMOVED = "[removed]"
# Long enough that no ordinary word of a message is taken for part of a key.
_PART = 6
# Where other characters stand between those of the key, words run together: more are needed.
_SPREAD_PART = 8
# The ends of a shorter key are words like `test`.
_LONG = 12
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
# What providers put in place of the middle of a key, or of all but a piece of it.
_MASK = re.compile(r"\*{2,}|\.{3,}|\u2026+|\u2022{2,}|[xX]{4,}|#{3,}")
_BESIDE = 64
_WORD = re.compile(r"[A-Za-z0-9]+")
_LONG_WORD = re.compile(r"[A-Za-z0-9]{16,}")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_BASE64 = string.ascii_letters + string.digits + "+/-_="
_KEY_LETTERS = re.compile(r"[\w\-]")
# The first group, where there is one, stays.
_LOOK_LIKE_KEYS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b()(?:sk|pk|rk|hf|gsk|xai|xox[abp]|gh[opsu]|glpat|akia|aiza|ya29)[-_.]?"
        r"(?=[\w\-]{0,64}\d)[\w\-]{8,}",
        r"\b()(?:sk|hf|gsk|xai|ghp)[-_][\w\-]{8,}",
        r"(\bbearer\s+)[^\s\"'<>]{4,}",
        r"(://)[^\s/@\"'<>]+(?=@)",
        r"([?&](?:api[_-]?)?(?:key|token|secret)=)[^\s&\"'<>]+",
    )
]

_SHORT_KEY, _LONG_KEY = 8, 16
# `hf_` begins names of folders and variables, too; keys of a hub are longer.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|gsk|xai|xox[abp]|gh[opsu]|github_pat|glpat)[-_.]([\w\-.]{8,512})"
)
_CERTAIN_KEYS = [
    re.compile(pattern)
    for pattern in (
        r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
        r"(?<![A-Za-z0-9])(?:AIza[\w\-]{30}|ya29\.[\w\-]{20}|hf_[A-Za-z0-9]{20})",
        r"://[^\s/@\"'<>]{1,512}@",
        r"(?i)[?&;][\w\-]{0,24}(?:key|token|secret|password|sig|signature)=[^\s&\"'<>]",
        r"(?i)\bbearer\s+(?=[^\s]*\d)[A-Za-z0-9+/=_.\-]{8}",
        r"(?i)(?<![a-z])(?:api|access|auth|secret|private|hub|hf|wandb)[_-]?(?:key|token|secret)[\"']?\s*[=:]"
        r"\s*[^\s,}\]]",
        r"(?i)(?<![a-z])(?:password|passwd|secret|authorization|x-api-key)[\"']?\s*[=:]\s*[^\s,}\]]",
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
        secrets: Keys that are known; they go in every form that `remove_secret` knows.
    """
    for secret in secrets:
        text = remove_secret(text, secret)
    for pattern in _LOOK_LIKE_KEYS:
        text = pattern.sub(rf"\1{_REMOVED}", text)
    return _without(text, _masked(text))


def _masked(text: str) -> Iterator[tuple[int, int]]:
    """Yields the spans of words of which only the ends are shown."""
    for mask in _MASK.finditer(text):
        begin, end = mask.span()
        if mask[0][0] in "xX#":
            continue  # Also part of ordinary words and headings.
        while begin > mask.start() - _BESIDE and _KEY_LETTERS.match(text[begin - 1 : begin]):
            begin -= 1
        while end < mask.end() + _BESIDE and _KEY_LETTERS.match(text[end : end + 1]):
            end += 1
        if mask.start() - begin > 1 and end - mask.end() > 1 and len(mask[0]) != 2:
            yield begin, end


def hide_keys(text: str) -> str:
    """Returns `redact(text)` without long words of letters and digits, as keys without a prefix are.

    For what a user typed where a key may have been pasted; digests go as well.
    """
    text = _UUID.sub(_REMOVED, redact(text))
    return _LONG_WORD.sub(lambda word: _REMOVED if _changes(word[0]) > 1 else word[0], text)


def looks_like_key(text: str) -> bool:
    """Returns whether something in a text is, by its look, a key, and no name."""
    if redact(text) != text or _UUID.search(text):
        return True
    words = _LONG_WORD.findall(text)
    # Names of models may be long, with a digit here and there.
    return any(
        _changes(word) * (3.5 if any(map(str.isdigit, word)) else 5) >= len(word) for word in words
    )


def holds_key(text: str) -> bool:
    """Returns whether a value of an option has a key in it, by a form that names and paths lack.

    Those are: a provider's prefix before a long word, user and password in an address, a key as a
    parameter of one, an authorization, a setting that is called a key.
    """
    if any(pattern.search(text) for pattern in _CERTAIN_KEYS):
        return True
    return any(
        len(word) >= _LONG_KEY or (len(word) >= _SHORT_KEY and _is_mixed(word))
        for found in _PREFIXED.finditer(text)
        for word in _WORD.findall(found[1])
    )


def _is_mixed(word: str) -> bool:
    return any(map(str.isdigit, word)) and _changes(word) > 0


def _changes(word: str) -> int:
    """Returns how often letters change to digits or back, or small letters to capitals."""
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in word]
    pairs = itertools.pairwise(kinds)
    # A capital begins a word in names that are written together.
    return sum(a != b and (a, b) != ("A", "a") for a, b in pairs)


def remove_secret(text: str, secret: str) -> str:
    """Returns the text without a secret and without what is left of it in other forms.

    Those are parts of six characters and more, also in capitals or small letters, percent-encoded,
    in base64 or with other characters between them; what stands next to a mask (`sk-ab***yz`); and
    its first or last four characters as a word. Secrets of fewer than six characters are only
    removed as they stand, and one or two characters not at all.
    """
    if len(secret) < _PART:
        return text.replace(secret, _REMOVED) if len(secret) > 2 else text
    return _without(text, _traces(text, secret))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Returns the text with each span, or row of spans that touch, replaced."""
    gone = bytearray(len(text))
    for begin, end in spans:
        gone[begin:end] = b"\1" * (end - begin)
    kept, place = [], 0
    while place < len(text):
        end = gone.find(0 if gone[place] else 1, place)
        end = len(text) if end < 0 else end
        kept.append(_REMOVED if gone[place] else text[place:end])
        place = end
    return "".join(kept)


def _traces(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Yields the spans of a text that show something of a secret."""
    low, key = text.translate(_ASCII_LOWER), secret.translate(_ASCII_LOWER)
    for form in {secret, quote(secret, safe="", errors="surrogatepass")}:
        yield from _shared(low, form.translate(_ASCII_LOWER), _PART)
    for form in _in_base64(secret):
        for begin, end in _shared(text, form, _PART):
            # What was encoded together with it: a name before it, `==` behind it.
            before, behind = text[max(0, begin - _BESIDE) : begin], text[end : end + _BESIDE]
            wider = len(before) - len(before.rstrip(_BASE64))
            yield begin - wider, end + len(behind) - len(behind.lstrip(_BASE64))
    squeezed = [place for place, c in enumerate(low) if c.isascii() and c.isalnum()]
    letters = "".join(low[place] for place in squeezed)
    for begin, end in _shared(letters, "".join(_WORD.findall(key)), _SPREAD_PART):
        yield squeezed[begin], squeezed[end - 1] + 1
    for mask in _MASK.finditer(low):
        yield from _beside(low, mask, key)
    if len(secret) >= _LONG:
        ends = {key[:4], key[:5], key[-4:], key[-5:]}
        yield from (word.span() for word in _WORD.finditer(low) if word[0] in ends)


@lru_cache(maxsize=16)
def _in_base64(secret: str) -> frozenset[str]:
    """Returns a secret in base64 for each place where it can begin, without what is not its own."""
    raw = secret.encode(errors="surrogatepass")
    forms = set()
    for before in range(3):
        # The first characters depend on what stands before, the last ones on what follows.
        inner = base64.b64encode(b"\0" * before + raw).decode()[2 * before :].rstrip("=")[:-1]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return frozenset(forms)


def _shared(text: str, whole: str, length: int) -> Iterator[tuple[int, int]]:
    """Yields the longest spans of a text of which every `length` characters stand in `whole`."""
    parts = {whole[place : place + length] for place in range(len(whole) - length + 1)}
    begin = end = -1
    for place in range(len(text) - length + 1 if parts else 0):
        if text[place : place + length] not in parts:
            continue
        if place > end:
            if end > 0:
                yield begin, end
            begin = place
        end = place + length
    if end > 0:
        yield begin, end


def _beside(text: str, mask: re.Match[str], key: str) -> Iterator[tuple[int, int]]:
    """Yields the piece of a key before a mask and the piece behind it."""
    longest = min(len(key), _BESIDE)
    before = text[max(0, mask.start() - longest) : mask.start()]
    after = text[mask.end() : mask.end() + longest]
    for size in range(longest, 1, -1):
        piece = before[-size:]
        if len(piece) == size and (key.startswith(piece) or (size > 2 and piece in key)):
            yield mask.start() - size, mask.end()
            break
    for size in range(longest, 1, -1):
        piece = after[:size]
        if len(piece) == size and (key.endswith(piece) or (size > 2 and piece in key)):
            yield mask.start(), mask.end() + size
            break
