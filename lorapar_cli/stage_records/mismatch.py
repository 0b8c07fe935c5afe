"""Whether what a manifest holds is a record of its stage."""

import types
import typing
from typing import Any


def find_mismatch(value: Any, kind: Any, place: str = "") -> str | None:
    """Returns where a value read from JSON is not of a type, or None.

    Args:
        value: What `json` returned.
        kind: A type, a TypedDict, or list, dict, Literal, Optional of such.
        place: Where the value stands, for the message.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return None
    if origin in (typing.Union, types.UnionType):
        found = [find_mismatch(value, part, place) for part in parts]
        return None if None in found else found[0]
    if origin is typing.Literal:
        return None if value in parts else f"`{place}` is {value!r}"
    if origin is list:
        return _is_not(value, list, place) or _first(
            find_mismatch(each, parts[0], f"{place}[{number}]") for number, each in enumerate(value)
        )
    if origin is dict:
        return _is_not(value, dict, place) or _first(
            find_mismatch(each, parts[1], f"{place}.{name}") for name, each in value.items()
        )
    if typing.is_typeddict(kind):
        return _is_not(value, dict, place) or _find_in_record(value, kind, place)
    return _is_not(value, kind, place)


def _find_in_record(value: dict[str, Any], kind: Any, place: str) -> str | None:
    hints = typing.get_type_hints(kind)
    for name, hint in hints.items():
        where = f"{place}.{name}" if place else name
        if name in value:
            if mismatch := find_mismatch(value[name], hint, where):
                return mismatch
        elif name in kind.__required_keys__:
            return f"`{where}` is missing"
    return None


def _is_not(value: Any, kind: type, place: str) -> str | None:
    # JSON writes 1.0 as 1.0 and 1 as 1, and a float that happens to be whole may be either.
    accepted = (int, float) if kind is float else (kind,)
    good = isinstance(value, accepted) and not (isinstance(value, bool) and kind is not bool)
    return None if good else f"`{place}` is {value!r}"


def _first(found: typing.Iterable[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)
