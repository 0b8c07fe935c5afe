"""Teachers: found by name, and what their answers depend on. No key is kept here, only its place."""

import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.labelling.teachers.rules import RULES
from lorapar_cli.labelling.teachers.teacher import STRUCTURED, Price, Teacher
from lorapar_cli.models.weights_digest import local_revision

_PRESETS = Path(__file__).with_name("teachers.yaml")
_INLINE = re.compile(r"(?P<name>[\w.:/-]+?)=(?P<model>.+)@(?P<url>https?://\S+)")
_LOCAL = re.compile(r"(?:(?P<name>[\w.-]+)=)?hf:(?P<path>.+)")
_NOT_IN_FILES = ("name", "kind", "revision")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "base_url": str,
    "model": str,
    "key_env": str,
    "temperature": (int, float),
    "max_tokens": int,
}
_WANTED = {
    "base_url": "an address",
    "model": "the provider's name of the model",
    "key_env": "the name of an environment variable",
    "temperature": "a number",
    "max_tokens": "a whole number",
}


def rule_teachers() -> dict[str, Teacher]:
    """Returns the offline teachers by name."""
    return {
        name: Teacher(name, "rule", f"{name}/{version}", price=Price(0, 0))
        for name, (version, _) in RULES.items()
    }


def known_teachers(config: Path | None = None) -> dict[str, Teacher]:
    """Returns every teacher that has a name: rules, presets, and those of the user's file.

    Args:
        config: A YAML file with a mapping `teachers:`; its other keys are not read here.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: A teacher in it has unknown or missing fields.
    """
    known = rule_teachers() | _read_presets(_PRESETS, whole_file=True)
    return known | (_read_presets(config, whole_file=False, known=known) if config else {})


def _read_presets(
    path: Path, whole_file: bool, known: dict[str, Teacher] | None = None
) -> dict[str, Teacher]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise LoraparError(f"cannot read `{path}`", cause.strerror) from cause
    except yaml.YAMLError as cause:
        raise LoraparError(f"`{path}` is not valid YAML", str(cause)) from cause
    if not whole_file:
        content = content.get("teachers", {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise UsageError(f"`{path}` has no mapping `teachers:` of teachers by name")
    return {
        str(name): _read_teacher(str(name), entry, path, (known or {}).get(str(name)))
        for name, entry in content.items()
    }


def _read_teacher(name: str, entry: Any, path: Path, preset: Teacher | None) -> Teacher:
    allowed = [field.name for field in fields(Teacher) if field.name not in _NOT_IN_FILES]
    where = f"teacher `{name}` in `{path}`"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is no mapping", hint=f"fields: {', '.join(allowed)}")
    if unknown := [key for key in entry if key not in allowed]:
        listed = ", ".join(f"`{key}`{nearest(str(key), allowed)}" for key in unknown)
        raise UsageError(f"{where} has unknown fields: {listed}")
    changed = preset is not None and preset.kind == "api" and not {"base_url", "model"} & {*entry}
    local = _LOCAL.fullmatch(str(entry.get("model")))
    if not changed:
        needed = ("model",) if local else ("base_url", "model")
        if missing := [key for key in needed if key not in entry]:
            raise UsageError(f"{where} lacks `{missing[0]}`")
    for key, value in entry.items():
        if key in _KINDS and (not isinstance(value, _KINDS[key]) or isinstance(value, bool)):
            raise UsageError(f"{where} has `{key}: {value}`", hint=f"`{key}` is {_WANTED[key]}")
    if not entry.get("max_tokens", 1) > 0:
        raise UsageError(f"{where} has `max_tokens: {entry['max_tokens']}`", hint="1 or more")
    price = None if entry.get("price") is None else _read_price(entry["price"], where)
    if entry.get("structured", "none") not in STRUCTURED:
        raise UsageError(
            f"{where} has `structured: {entry['structured']}`", hint=f"{', '.join(STRUCTURED)}"
        )
    if changed:
        return replace(preset, **(entry | ({"price": price} if "price" in entry else {})))
    if local:
        if other := sorted({*entry} - {"model", "max_tokens"}):
            raise UsageError(
                f"{where} has `{other[0]}`, and is a local model",
                hint="beside `model`, it takes `max_tokens`",
            )
        return replace(_local_teacher(name, local["path"]), **_only(entry, "max_tokens"))
    given = {"key_required": "key_env" in entry} | entry | {"price": price}
    _check_url(str(given["base_url"]), name)
    return Teacher(name=name, kind="api", **given)


def _only(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: entry[name]} if name in entry else {}


def _read_price(price: Any, where: str) -> Price:
    try:
        read = Price(
            float(price["input"]), float(price["output"]), str(price.get("date") or "") or None
        )
        if min(read.input, read.output) < 0 or not math.isfinite(read.input + read.output):
            raise ValueError("no amount of money")
    except (KeyError, TypeError, ValueError) as cause:
        raise UsageError(
            f"the price of {where} is none", repr(price), "write `{input: 2.5, output: 10}`"
        ) from cause
    return read


def _check_url(url: str, name: str) -> None:
    """Refuses addresses that carry a secret: they would stand in the manifest and in messages."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            f"the address of teacher `{name}` holds a user, a password or a query",
            hint="give a plain address; keys come from environment variables only",
        )


def find_teachers(names: list[str], config: Path | None = None) -> list[Teacher]:
    """Returns the teachers of these names, in their order.

    A name is a known teacher, `name=model@http://host:port/v1` or `hf:PATH`.

    Raises:
        UsageError: A name is unknown; the message lists what there is.
        LoraparError: A local model's folder cannot be read.
    """
    known = known_teachers(config)
    found = [_find(name, known) for name in names]
    if len({teacher.name for teacher in found}) < len(found):
        raise UsageError("two teachers have the same name", ", ".join(t.name for t in found))
    return [_with_revision(teacher) for teacher in found]


def _find(name: str, known: dict[str, Teacher]) -> Teacher:
    if name in known:
        return known[name]
    if local := _LOCAL.fullmatch(name):
        return _local_teacher(local["name"] or name, local["path"])
    if inline := _INLINE.fullmatch(name):
        _check_url(inline["url"], inline["name"])
        return Teacher(
            inline["name"],
            "api",
            inline["model"],
            inline["url"],
            key_env="OPENAI_API_KEY",
            key_required=False,
            structured="json_schema",
            temperature=0,
        )
    shown = name.partition("@")[0]
    raise UsageError(
        f"unknown teacher `{shown}`{nearest(shown, list(known))}",
        hint=f"teachers: {', '.join(known)}; or `name=model@http://host:port/v1`, or `hf:PATH`",
    )


def _local_teacher(name: str, path: str) -> Teacher:
    folder = Path(path)
    return Teacher(
        name, "hf", str(folder.resolve()) if folder.is_dir() else path, price=Price(0, 0)
    )


def _with_revision(teacher: Teacher) -> Teacher:
    """Returns a local model's teacher with the digest of its folder: gigabytes may be read."""
    if teacher.kind != "hf":
        return teacher
    return replace(teacher, revision=local_revision(teacher.model, chat=True))


def how_to_price(teachers: list[Teacher]) -> str:
    """Returns how the price of the first of some teachers can be given, as a YAML file's text."""
    first = teachers[0]
    preset = first.name in _read_presets(_PRESETS, whole_file=True)
    where = "" if preset else f"base_url: {first.base_url}, model: {first.model}, "
    entry = f"{first.name}: {{{where}price: {{input: DOLLARS, output: DOLLARS}}}}"
    return (
        f"give the dollars for a million tokens in a file `teachers: {{{entry}}}` and name it with "
        "`--teachers-file`"
    )
