"""JSON schemas of records that are stated as types: typed dictionaries, dataclasses, unions of them."""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string"},
    type(None): {"type": "null"},
    Any: {},
}


class Definitions:
    """Collects the schema of every record once, by the name of its type.

    Attributes:
        found: Name -> schema.
    """

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self._kinds: dict[str, Any] = {}

    def of(self, kind: Any) -> Schema:
        """Returns the schema of a type; those of records refer to `#/definitions`.

        Raises:
            TypeError: It has none, such as a function.
        """
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if origin in (typing.Union, types.UnionType):
            return _any_of([self.of(part) for part in parts])
        if origin is typing.Literal:
            return {"enum": list(parts)}
        if origin is tuple and len(parts) > 1 and parts[-1] is not Ellipsis:
            return {"type": "array", "items": _any_of([self.of(part) for part in parts])}
        if origin in (list, tuple, Sequence):
            return {"type": "array", "items": self.of(parts[0])}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.of(parts[1])}
        if origin in (typing.Required, typing.NotRequired):
            return self.of(parts[0])
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [each.value for each in kind]}
        if typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
            return {"$ref": f"#/definitions/{self._record(kind)}"}
        raise TypeError(f"{kind} has no JSON schema")

    def _record(self, kind: Any) -> str:
        name = kind.__name__
        while self._kinds.get(name, kind) is not kind:
            # Two wings call something of their own the same.
            name += "_"
        if name not in self._kinds:
            self._kinds[name] = kind
            self.found[name] = {}
            hints = typing.get_type_hints(kind)
            self.found[name].update(self.record(kind, hints))
        return name

    def record(self, kind: Any, hints: Mapping[str, Any]) -> Schema:
        """Returns the schema of a record whose fields have these types."""
        if typing.is_typeddict(kind):
            required = [name for name in hints if name in kind.__required_keys__]
        else:
            required = list(hints)
        said = describe(kind)
        properties = {
            name: {**({"description": said[name]} if name in said else {}), **self.of(hint)}
            for name, hint in hints.items()
        }
        properties = {name: _alone(schema) for name, schema in properties.items()}
        return {
            "description": said[""],
            "type": "object",
            "properties": properties,
            "required": required,
        }


def _alone(schema: Schema) -> Schema:
    """Returns a schema with a reference and a description as draft 7 reads both."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**rest, "anyOf": [{"$ref": schema["$ref"]}]}


def _any_of(schemas: list[Schema]) -> Schema:
    if all(set(each) == {"type"} for each in schemas):
        kinds = [each["type"] for each in schemas]
        return {
            "type": [one for kind in kinds for one in (kind if isinstance(kind, list) else [kind])]
        }
    return {"anyOf": schemas}


def describe(kind: Any) -> dict[str, str]:
    """Returns what the docstrings of a record say: of it under the empty name, and of its fields."""
    # Which typed dictionaries one derives from is not known at run time.
    kinds = [kind] if typing.is_typeddict(kind) else reversed(kind.__mro__)
    said = {"": ""}
    for each in kinds:
        said |= _read_docstring(each.__doc__ or "")
    return said


def _read_docstring(text: str) -> dict[str, str]:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    said = {"": " ".join(paragraphs[0].split())} if paragraphs[0] else {}
    for paragraph in paragraphs[1:]:
        head, _, rest = paragraph.partition("\n")
        if head.strip() not in ("Keys:", "Attributes:"):
            continue
        names: list[str] = []
        for line in rest.splitlines():
            entry = re.match(r"\s*(\w+(?:, \w+)*): (.*)", line)
            if entry:
                names = entry[1].split(", ")
                said |= dict.fromkeys(names, entry[2])
            else:
                said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said
