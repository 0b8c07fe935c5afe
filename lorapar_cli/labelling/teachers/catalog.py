"""The teachers that are known by name, and those of a user's file. No API key is stored here."""

import math
import re
from collections.abc import Sequence
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
_FIELDS = tuple(
    field.name for field in fields(Teacher) if field.name not in ("name", "kind", "revision")
)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "base_url": str,
    "model": str,
    "key_env": str,
    "temperature": (int, float),
    "max_tokens": int,
}
_EXPECTED = {
    "base_url": "a URL",
    "model": "the provider's model name",
    "key_env": "the name of an environment variable",
    "temperature": "a number",
    "max_tokens": "an integer",
}


def rule_teachers() -> dict[str, Teacher]:
    """Returns the offline teachers by name."""
    return {
        name: Teacher(name, "rule", f"{name}/{version}", price=Price(0, 0))
        for name, (version, _) in RULES.items()
    }


def known_teachers(config: Path | None = None) -> dict[str, Teacher]:
    """Returns all teachers by name: rules, presets, and those of the user's file.

    Args:
        config: A YAML file with a mapping `teachers:`; other keys are ignored.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: A teacher in it has unknown, missing or invalid fields.
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


def _read_teacher(name: str, entry: Any, path: Path, known: Teacher | None) -> Teacher:
    """Returns the teacher that an entry of a file defines, or a preset with changed fields."""
    where = f"teacher `{name}` in `{path}`"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not a mapping", hint=f"fields: {', '.join(_FIELDS)}")
    if unknown := [key for key in entry if key not in _FIELDS]:
        listed = ", ".join(f"`{key}`{nearest(str(key), [*_FIELDS])}" for key in unknown)
        raise UsageError(f"{where} has unknown fields: {listed}")
    given: dict[str, Any] = dict(entry)
    if "price" in entry:
        given["price"] = _read_price(entry["price"], where)
    local = _LOCAL.fullmatch(str(entry.get("model")))
    if known is not None and known.kind == "api" and not {"base_url", "model"} & {*entry}:
        _check_values(entry, where)
        return replace(known, **given)
    required = ("model",) if local else ("base_url", "model")
    if missing := [key for key in required if key not in entry]:
        raise UsageError(f"{where} lacks `{missing[0]}`")
    _check_values(entry, where)
    if local:
        if other := sorted({*entry} - {"model", "max_tokens"}):
            raise UsageError(
                f"{where} has `{other[0]}`, but is a local model",
                hint="besides `model`, it takes `max_tokens`",
            )
        given.pop("model")
        return replace(_local_teacher(name, local["path"]), **given)
    _check_url(str(entry["base_url"]), name)
    given.setdefault("key_required", "key_env" in entry)
    return Teacher(name=name, kind="api", **given)


def _check_values(entry: dict[str, Any], where: str) -> None:
    for key, value in entry.items():
        if key in _TYPES and (not isinstance(value, _TYPES[key]) or isinstance(value, bool)):
            raise UsageError(f"{where} has `{key}: {value}`", hint=f"`{key}` is {_EXPECTED[key]}")
    if entry.get("max_tokens", 1) < 1:
        raise UsageError(
            f"{where} has `max_tokens: {entry['max_tokens']}`", hint="`max_tokens` is at least 1"
        )
    if entry.get("structured", "none") not in STRUCTURED:
        raise UsageError(
            f"{where} has `structured: {entry['structured']}`",
            hint=f"`structured` is one of {', '.join(STRUCTURED)}",
        )


def _read_price(price: Any, where: str) -> Price | None:
    if price is None:
        return None
    try:
        read = Price(
            float(price["input"]), float(price["output"]), str(price.get("date") or "") or None
        )
        if min(read.input, read.output) < 0 or not math.isfinite(read.input + read.output):
            raise ValueError("not an amount of money")
    except (KeyError, TypeError, ValueError) as cause:
        raise UsageError(
            f"{where} has no valid price", repr(price), "write `{input: 2.5, output: 10}`"
        ) from cause
    return read


def _check_url(url: str, name: str) -> None:
    """Checks that an address carries no secret, which manifest and messages would expose."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            f"the address of teacher `{name}` contains a user, a password or a query",
            hint="give a plain address; API keys are read from environment variables only",
        )


def find_teachers(names: Sequence[str], config: Path | None = None) -> list[Teacher]:
    """Returns the teachers of these names, in this order.

    A name is a known teacher, `name=model@http://host:port/v1` or `hf:PATH`.

    Raises:
        UsageError: A name is unknown; the message lists the known ones.
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
    """Returns how to state the price of the first of these teachers, as YAML."""
    first = teachers[0]
    preset = first.name in _read_presets(_PRESETS, whole_file=True)
    where = "" if preset else f"base_url: {first.base_url}, model: {first.model}, "
    entry = f"{first.name}: {{{where}price: {{input: DOLLARS, output: DOLLARS}}}}"
    return (
        f"state the price in US dollars per million tokens in a YAML file, `teachers: {{{entry}}}`, "
        "and name it with `--teachers-file`"
    )
