"""A small validator of JSON schemas: the keywords that ours use, and an error for any other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.cli import schemas

_TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    ),
}
_LIMITS = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}
_SAY_NOTHING = {"$schema", "$id", "title", "description", "default", "definitions"}


def unfit(name: str, value: Any) -> list[str]:
    """Returns what of a command's JSON output its schema does not say, unnamed keys among them.

    Args:
        name: Of the command, as in `results.schema.json`.
    """
    place = Path(schemas.__file__).parent / "results.schema.json"
    closed = _closed(json.loads(place.read_text(encoding="utf-8")))
    return problems(closed | {"anyOf": [{"$ref": f"#/definitions/{name}"}]}, value)


def _closed(schema: Any) -> Any:
    """Returns a schema that takes no key that it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed["additionalProperties"] = False
    return closed


def problems(schema: dict, value: Any) -> list[str]:
    """Returns what of a value does not fit, each with its place."""
    return list(_check(schema, value, "", schema))


def _check(schema: dict | bool, value: Any, place: str, root: dict) -> Iterator[str]:
    if schema is True:
        return
    assert isinstance(schema, dict), schema
    if "$ref" in schema:
        assert set(schema) <= {"$ref", "description"}, "draft 7 ignores what stands beside `$ref`"
        yield from _check(_follow(schema["$ref"], root), value, place, root)
        return
    for keyword, stated in schema.items():
        if keyword in _SAY_NOTHING:
            continue
        yield from _KEYWORDS[keyword](stated, value, place, root, schema)


def _follow(reference: str, root: dict) -> dict:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found[part]
    return found


def _type(stated, value, place, *_):
    kinds = stated if isinstance(stated, list) else [stated]
    if not any(_TYPES[kind](value) for kind in kinds):
        yield f"{place}: {value!r} is not of type {kinds}"


def _enum(stated, value, place, *_):
    if not any(value == each and type(value) is type(each) for each in stated):
        yield f"{place}: {value!r} is none of {stated}"


def _any_of(stated, value, place, root, _):
    if all(list(_check(each, value, place, root)) for each in stated):
        yield f"{place}: {value!r} fits none of {len(stated)} schemas"


def _properties(stated, value, place, root, _):
    for key in stated.keys() & value.keys() if isinstance(value, dict) else ():
        yield from _check(stated[key], value[key], f"{place}.{key}", root)


def _pattern_properties(stated, value, place, root, _):
    for key in value if isinstance(value, dict) else ():
        for pattern in stated:
            if re.search(pattern, key):
                yield from _check(stated[pattern], value[key], f"{place}.{key}", root)


def _additional(stated, value, place, root, schema):
    patterns = schema.get("patternProperties", {})
    for key in value if isinstance(value, dict) else ():
        if key in schema.get("properties", {}) or any(re.search(p, key) for p in patterns):
            continue
        if stated is False:
            yield f"{place}.{key}: unknown"
        else:
            yield from _check(stated, value[key], f"{place}.{key}", root)


def _required(stated, value, place, *_):
    for key in stated if isinstance(value, dict) else ():
        if key not in value:
            yield f"{place}.{key}: missing"


def _items(stated, value, place, root, _):
    for number, each in enumerate(value if isinstance(value, list) else ()):
        yield from _check(stated, each, f"{place}[{number}]", root)


def _names(stated, value, place, root, _):
    for key in value if isinstance(value, dict) else ():
        yield from _check(stated, key, f"{place}.{key}", root)


def _pattern(stated, value, place, *_):
    if isinstance(value, str) and not re.search(stated, value):
        yield f"{place}: {value!r} does not match {stated}"


def _least(kind):
    def check(stated, value, place, *_):
        if isinstance(value, kind) and len(value) < stated:
            yield f"{place}: fewer than {stated}"

    return check


def _most(stated, value, place, *_):
    if isinstance(value, list) and len(value) > stated:
        yield f"{place}: more than {stated}"


def _unique(stated, value, place, *_):
    if stated and isinstance(value, list) and len({repr(each) for each in value}) < len(value):
        yield f"{place}: something is there twice"


def _limit(keyword):
    def check(stated, value, place, *_):
        if _TYPES["number"](value) and not _LIMITS[keyword](value, stated):
            yield f"{place}: {value} is not within {keyword} {stated}"

    return check


_KEYWORDS = {
    "type": _type,
    "enum": _enum,
    "anyOf": _any_of,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "propertyNames": _names,
    "pattern": _pattern,
    "minItems": _least(list),
    "maxItems": _most,
    "minProperties": _least(dict),
    "uniqueItems": _unique,
    **{keyword: _limit(keyword) for keyword in _LIMITS},
}
