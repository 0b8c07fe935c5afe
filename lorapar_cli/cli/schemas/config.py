"""JSON schemas of the YAML files of `lorapar run` and `lorapar sweep`, from the options themselves."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from lorapar_cli.cli.config import OPTIONS, SHARED_KEYS
from lorapar_cli.comparison.sweep.axes import (
    EXCLUDED,
    METHODS,
    MODULES,
    MOST_VIRTUAL_TOKENS,
    ORDERS,
    SHORT_NAMES,
    SPECIAL,
    option_of_short_name,
)
from lorapar_cli.comparison.sweep.table_spec import FIGURES
from lorapar_cli.labelling.teachers.teacher import STRUCTURED
from lorapar_cli.limits import LARGEST_SEED, MOST_SEEDS
from lorapar_cli.names import Stage
from lorapar_cli.options import Option, Options, options_of

Schema = dict[str, Any]
DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest one that editors' YAML plugins know."""

# Numbers as text: YAML 1.1 reads `1e-4` so, and a quoted number is one too.
_INTEGER = r"^\s*[+-]?\d+\s*$"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_TEXT: Schema = {"type": ["string", "number"]}


def run_schema(commands: Mapping[str, Any]) -> Schema:
    """Returns the schema of a configuration.

    Args:
        commands: Subcommand name -> command; what it has besides its stage's options counts too.
    """
    stages = {stage.value: _stage(stage, commands[stage.value]) for stage in Stage}
    shared = {_dashed(name): _shared(name) for name in SHARED_KEYS}
    return {
        "$schema": DIALECT,
        "title": "Configuration of lorapar run",
        "description": "A section per stage, its keys named after the options of its command.",
        **_mapping({**shared, **stages, "teachers": _teachers()}, "#"),
        # The only stage that has an argument.
        "required": [Stage.CLASSIFY.value],
    }


def _stage(stage: Stage, command: Any) -> Schema:
    known = {_dashed(each.flag.lstrip("-")): of_option(each) for each in options_of(OPTIONS[stage])}
    others: Schema = {}
    for parameter in command.params:
        name = _dashed(parameter.opts[0].lstrip("-"))
        if name not in known and name != "help":
            text = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
            kind = _or_null({"type": "boolean"} if parameter.is_flag else text)
            others[name] = {"description": parameter.help, **kind}
    schema = _mapping({**known, **others}, f"#/properties/{stage.value.replace('-', '_')}")
    described = {"description": (command.help or "").strip(), **schema}
    required = [each.name for each in options_of(OPTIONS[stage]) if each.stated.argument]
    if required:
        return {**described, "required": required}
    return {**described, "type": ["object", "null"]}


def _shared(name: str) -> Schema:
    if name == "run_dir":
        return {"description": "Run directory, with one folder per stage.", **_or_null(_TEXT)}
    for options in OPTIONS.values():
        for each in options_of(options):
            if each.name == name:
                return of_option(each)
    raise AssertionError(f"no stage has `{name}`")


def of_option(each: Option, *, typed: bool = True) -> Schema:
    """Returns the schema of an option's values in YAML, null for its default among them.

    Args:
        typed: Whether the value goes through the command line, where a number may be text.
    """
    described: Schema = {"description": each.stated.doc}
    if each.default not in (MISSING, None, ()):
        default = each.default
        described["default"] = list(default) if isinstance(default, tuple) else default
        if isinstance(default, Path):
            described["default"] = str(default)
    return {**described, **_or_null(_values(each, typed))}


def _values(each: Option, typed: bool) -> Schema:
    if each.choices:
        return {"enum": list(each.choices)}
    if each.kind is bool:
        return {"type": "boolean"}
    if each.kind in (int, float):
        return _number(each, typed)
    if each.kind is tuple and each.stated.repeatable and not each.stated.argument:
        pair = {"type": "string", "pattern": "="}
        several: Schema = {"type": "array", "items": pair}
        return {"anyOf": [{"type": "object"}, several, pair]}
    if each.kind is tuple or each.stated.argument:
        return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
    # Names with values are separated by commas, as rewards are, or stand in a list.
    return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]} if typed else _TEXT


def _number(each: Option, typed: bool) -> Schema:
    stated = each.stated
    limits = {
        "minimum": stated.at_least,
        "maximum": stated.at_most,
        "exclusiveMinimum": stated.above,
        "exclusiveMaximum": stated.below,
    }
    number: Schema = {"type": "integer" if each.kind is int else "number"}
    number |= {key: limit for key, limit in limits.items() if limit is not None}
    if each.kind is int and not typed:
        return number
    pattern = _INTEGER if each.kind is int else _NUMBER
    return {"anyOf": [number, {"type": "string", "pattern": pattern}]}


def _teachers() -> Schema:
    text, number = {"type": "string"}, {"type": "number", "minimum": 0}
    price = {"type": ["object", "null"], "required": ["input", "output"]}
    fields: Schema = {
        "base_url": text,
        "model": text,
        "key_env": text,
        "key_required": {"type": "boolean"},
        "structured": {"enum": list(STRUCTURED)},
        "temperature": number,
        "max_tokens": {"type": "integer", "minimum": 1},
        "price": price,
    }
    return {
        "description": "Teachers by name, for `classify`.",
        "type": ["object", "null"],
        "additionalProperties": {
            "type": "object",
            "properties": fields,
            "additionalProperties": False,
        },
    }


def sweep_schema() -> Schema:
    """Returns the schema of a grid file; what names refer to, such as axes, it cannot check."""
    seeds: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}
    several: Schema = {
        **{"type": "array", "items": seeds, "uniqueItems": True},
        **{"minItems": 1, "maxItems": MOST_SEEDS},
    }
    embedded: Schema = {"anyOf": [{"enum": [False, "only"]}, {"$ref": "#/definitions/settings"}]}
    row: Schema = {
        "name": {"type": ["string", "number"]},
        "grid": {"$ref": "#/definitions/grid"},
        "embedded": embedded,
    }
    rows = {"type": ["array", "null"], "minItems": 1, "items": {"$ref": "#/definitions/row"}}
    top: Schema = {
        "title": {"type": "string"},
        "model": {"type": ["string", "null"]},
        "seeds": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_SEEDS}, several]},
        "grid": {"$ref": "#/definitions/grid"},
        "rows": rows,
        "table": _table(),
        "embedded": {"$ref": "#/definitions/settings"},
    }
    named = {"type": "object", "minProperties": 1}
    named |= {"additionalProperties": {"$ref": "#/definitions/value"}}
    axis = {"anyOf": [{"type": "array", "minItems": 1}, named]}
    value = _settings({"embedded": embedded}, "#/definitions/value")
    sections = {
        stage.value: {**_section(options, stage), "type": ["object", "null"]}
        for stage, options in OPTIONS.items()
    }
    return {
        "$schema": DIALECT,
        "title": "Grid of lorapar sweep",
        **_settings(top, "#"),
        "definitions": {
            **sections,
            "settings": _settings({}, "#/definitions/settings"),
            "row": {**_settings(row, "#/definitions/row"), "required": ["name"]},
            "value": {**value, "type": ["object", "null"]},
            "grid": {"type": ["object", "null"], "additionalProperties": axis},
        },
    }


def _settings(own: Mapping[str, Schema], pointer: str) -> Schema:
    """Returns the schema of a mapping of settings: sections, short names and `stage.option`.

    Args:
        own: Further keys.
        pointer: Where the schema will be.
    """
    special: Schema = {
        "splitter": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "method": {"enum": list(METHODS)},
        "order": {"enum": list(ORDERS)},
        "virtual-tokens": {"type": "integer", "minimum": 1, "maximum": MOST_VIRTUAL_TOKENS},
    }
    short: Schema = {}
    for name in SHORT_NAMES:
        if name not in SPECIAL:
            short[name] = of_option(option_of_short_name(name), typed=False)
    short["targets"] = {"anyOf": [{"enum": list(MODULES)}, short["targets"]]}
    # Names of sections have dashes here; underscores are read as dashes.
    sections = {stage.value: {"$ref": f"#/definitions/{stage.value}"} for stage in OPTIONS}
    mapping = _mapping({**sections, **special, **short, **own}, pointer)
    dotted = {
        f"^{stage.value.replace('-', '[-_]')}[.]{each.name.replace('_', '[-_]')}$": {
            "$ref": f"#/definitions/{stage.value}/properties/{each.name}"
        }
        for stage, options in OPTIONS.items()
        for each in options_of(options)
        if each.name not in EXCLUDED
    }
    return {**mapping, "patternProperties": {**mapping["patternProperties"], **dotted}}


def _section(options: type[Options], stage: Stage) -> Schema:
    known = {
        _dashed(each.name): of_option(each, typed=False)
        for each in options_of(options)
        if each.name not in EXCLUDED
    }
    return _mapping(known, f"#/definitions/{stage.value}")


def _table() -> Schema:
    axes = {"type": "array", "items": {"type": "string"}}
    heads = {"type": "object", "propertyNames": {"enum": _both(FIGURES)}}
    listed = {"type": "array", "items": {"enum": _both(FIGURES)}}
    published = {"type": "array", "items": {"type": "object"}}
    properties: Schema = {
        "rows": axes,
        "columns": axes,
        "figures": {"anyOf": [heads, listed]},
        "published": published,
        "note": {"type": "string"},
    }
    return {
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }


def _both(names: Collection[str]) -> list[str]:
    return [*names, *(name.replace("-", "_") for name in names if "-" in name)]


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _mapping(properties: Mapping[str, Schema], pointer: str) -> Schema:
    """Returns the schema of a mapping whose keys may have `-` or `_`, and no others.

    Keys with underscores are those that editors offer.

    Args:
        pointer: Where the schema will be.
    """
    underscored = {name.replace("-", "_"): schema for name, schema in properties.items()}
    either = {
        f"^{name.replace('-', '[-_]')}$": {"$ref": f"{pointer}/properties/{name.replace('-', '_')}"}
        for name in properties
        if "-" in name
    }
    return {
        "type": "object",
        "properties": underscored,
        "patternProperties": either,
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    if kind is not None:
        return {**schema, "type": [*(kind if isinstance(kind, list) else [kind]), "null"]}
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
