"""JSON in which no object has a key twice: which of the values was meant is not for a reader to say."""

import json
from typing import Any

_SHOWN_CHARACTERS = 80


class RepeatedKey(ValueError):
    """An object has a key more than once; the message names it."""


def _one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                shown = key if len(key) <= _SHOWN_CHARACTERS else f"{key[:_SHOWN_CHARACTERS]}..."
                raise RepeatedKey(f"key `{shown}` is there more than once in one object")
            seen.add(key)
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_one_of_each)
"""Decodes as `json.loads` does and in no more time; raises RepeatedKey."""
