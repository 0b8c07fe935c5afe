"""The teachers that are known by name, and those of a user's file. No API key is stored here."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.labelling.teachers.endpoint.address import check_address
from lorapar_cli.labelling.teachers.rules import RULES
from lorapar_cli.labelling.teachers.teacher import STRUCTURED, Price, Teacher
from lorapar_cli.models.weights_digest import local_revision
from lorapar_cli.text_safety import hide_keys, looks_like_key, make_inert, redact

_PRESETS = Path(__file__).with_name("teachers.yaml")
_INLINE = re.compile(r"(?P<name>[\w.:/-]+?)=(?P<model>[^@]+(?:@[^@]+)*?)@(?P<url>https?://\S+)")
_LOCAL = re.compile(r"(?:(?P<name>[\w.-]+)=)?hf:(?P<path>.+)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME = 100
_MAX_TOKENS = 1 << 31
_MAX_TEMPERATURE = 100
_NO_KEY_HERE = (
    "API keys are read from environment variables only: set `OPENAI_API_KEY`, or give the name of "
    "the variable as `key_env` in a teachers file"
)
_OURS = ("name", "kind", "revision", "template_args")
_FIELDS = tuple(field.name for field in fields(Teacher) if field.name not in _OURS)
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
    # Parsing YAML takes long to import, and most commands that name teachers by now have not.
    from lorapar_cli.store.yaml_file import read_yaml

    content = read_yaml(path)
    if not whole_file:
        content = content.get("teachers", {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise UsageError(
            f"`{path}` has no mapping `teachers:` of teachers by name",
            hint="write `teachers: {NAME: {base_url: http://host:port/v1, model: MODEL}}`",
        )
    return {
        _read_name(name, path): _read_teacher(str(name), entry, path, (known or {}).get(str(name)))
        for name, entry in content.items()
    }


def _read_name(name: Any, path: Path) -> str:
    """Returns a teacher's name.

    Raises:
        UsageError: It cannot be one.
    """
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise UsageError(
            f"`{path}` has a teacher whose name is not text", str(name), "put the name in quotes"
        )
    check_name(str(name))
    return str(name)


def check_name(name: str) -> None:
    """Checks what is written to files and shown as a teacher's name.

    Raises:
        UsageError: It is too long, holds what cannot be shown, or looks like an API key.
    """
    if len(name) > _MAX_NAME or not name.isprintable() or "," in name:
        shown = make_inert(hide_keys(name[:_MAX_NAME]))
        raise UsageError(
            f"`{shown}` cannot be a teacher's name",
            hint=f"use up to {_MAX_NAME} printable characters without a comma",
        )
    if looks_like_key(name):
        raise UsageError(
            "the name of a teacher looks like an API key", hide_keys(name), _NO_KEY_HERE
        )


def _read_teacher(name: str, entry: Any, path: Path, known: Teacher | None) -> Teacher:
    """Returns the teacher that an entry of a file defines, or a preset with changed fields."""
    where = f"teacher `{name}` in `{path}`"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not a mapping", hint=f"fields: {', '.join(_FIELDS)}")
    if unknown := [key for key in entry if key not in _FIELDS]:
        listed = ", ".join(
            f"`{hide_keys(str(key)[:_MAX_NAME])}`{nearest(str(key)[:_MAX_NAME], [*_FIELDS])}"
            for key in unknown
        )
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
    check_address(str(entry["base_url"]), name)
    given.setdefault("key_required", "key_env" in entry)
    return Teacher(name=name, kind="api", **given)


def _check_values(entry: dict[str, Any], where: str) -> None:
    def refuse(key: str, hint: str) -> UsageError:
        shown = make_inert(hide_keys(str(entry[key])[:_MAX_NAME]))
        return UsageError(f"{where} has `{key}: {shown}`", hint=hint)

    for key, value in entry.items():
        if key in _TYPES and (not isinstance(value, _TYPES[key]) or isinstance(value, bool)):
            raise refuse(key, f"`{key}` is {_EXPECTED[key]}")
        if isinstance(value, str) and not value.isprintable():
            raise refuse(key, f"`{key}` contains characters that cannot be shown")
    if not 1 <= entry.get("max_tokens", 1) < _MAX_TOKENS:
        raise refuse("max_tokens", f"`max_tokens` is at least 1, and less than {_MAX_TOKENS}")
    if not 0 <= entry.get("temperature", 0) < _MAX_TEMPERATURE:
        raise refuse("temperature", f"`temperature` is at least 0 and below {_MAX_TEMPERATURE}")
    if not isinstance(kind := entry.get("structured", "none"), str) or kind not in STRUCTURED:
        raise refuse("structured", f"`structured` is one of {', '.join(STRUCTURED)}")
    if "key_env" in entry and not _is_variable(entry["key_env"]):
        raise UsageError(
            f"{where} has a `key_env` that is not the name of an environment variable",
            hint="set a variable to the key, and write the variable's name, such as "
            "`key_env: MY_KEY`",
        )
    if "model" in entry:
        check_model(entry["model"], where)


def _is_variable(name: str) -> bool:
    """Returns whether a text can be the name of a variable, and is not the key itself."""
    if not _VARIABLE.fullmatch(name):
        return False
    plain = not looks_like_key(name) if name.isupper() else hide_keys(name) == name
    return plain or name in os.environ


def check_model(model: str, where: str) -> None:
    """Checks that a provider's model name is none of the keys people paste in its place.

    Raises:
        UsageError: It looks like one.
    """
    # A server may call its model by a path, in which there are digests.
    if not model.strip() or ("/" not in model and looks_like_key(model)) or redact(model) != model:
        raise UsageError(
            f"the model of {where} is empty or looks like an API key", hint=_NO_KEY_HERE
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
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as cause:
        raise UsageError(
            f"{where} has no valid price",
            make_inert(hide_keys(repr(price)[:_MAX_NAME])),
            "write `{input: 2.5, output: 10}`",
        ) from cause
    return read


def check_teachers(names: Sequence[str], config: Path | None = None) -> None:
    """Raises what `find_teachers` would of names and definitions; no model is looked at."""
    known = known_teachers(config)
    for name in (each for each in names if each != STUDENT):
        _find(name, known)


STUDENT = "student"
# The versions of what is computed: changed ones are asked again.
_STUDENT_SCORES = {False: "direct/1", True: "direct/1 chain/1"}


def find_teachers(
    names: Sequence[str],
    config: Path | None = None,
    model: str | None = None,
    student_chain: bool = False,
) -> list[Teacher]:
    """Returns the teachers of these names, in this order.

    A name is a known teacher, `student`, `name=model@http://host:port/v1` or `hf:PATH`.

    Args:
        config: As of `known_teachers`.
        model: The base model, which `student` is; None where none is known.
        student_chain: Whether `student` also scores the reference chain.

    Raises:
        UsageError: A name is unknown; the message lists the known ones. Or `student` is named
            without a base model.
        LoraparError: A local model's folder cannot be read.
    """
    known = known_teachers(config)
    if STUDENT in names and STUDENT not in known:
        known[STUDENT] = _student(model, student_chain)
    found = [_find(name, known) for name in names]
    if len({teacher.name for teacher in found}) < len(found):
        raise UsageError("two teachers have the same name", ", ".join(t.name for t in found))
    return [_with_revision(teacher) for teacher in found]


def _student(model: str | None, chain: bool) -> Teacher:
    """Returns the base model as a teacher, identified by its files and by what it computes."""
    if model is None:
        raise UsageError(
            "teacher `student` is the base model, and none is known",
            hint="name it with `--model`: a folder, a hub id, or `embedded`",
        )
    digest = local_revision(model, chat=True)
    revision = " ".join(filter(None, (digest, _STUDENT_SCORES[chain])))
    return Teacher(STUDENT, "student", model, price=Price(0, 0), revision=revision)


def _find(name: str, known: dict[str, Teacher]) -> Teacher:
    if name in known:
        return known[name]
    if local := _LOCAL.fullmatch(name):
        if not Path(local["path"]).exists():
            check_model(local["path"], "a local teacher")
        check_name(local["name"] or "local")
        return _local_teacher(local["name"] or name, local["path"])
    if inline := _INLINE.fullmatch(name):
        check_name(inline["name"])
        check_model(inline["model"], f"teacher `{inline['name']}`")
        check_address(inline["url"], inline["name"])
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
    raise _unknown(name, known)


def _unknown(name: str, known: dict[str, Teacher]) -> UsageError:
    """Returns why a text names no teacher; of an address or a key in it nothing is repeated."""
    shown = make_inert(hide_keys(name.partition("@")[0].partition("://")[0]))[:_MAX_NAME]
    if looks_like_key(name):
        return UsageError("a teacher's name or address contains a key", shown, _NO_KEY_HERE)
    head, equals, address = name.partition("=")
    if "://" in name and not equals:
        return UsageError(
            "an address names no teacher by itself",
            hint="write `name=model@http://host:port/v1`, with the server's name for the model",
        )
    if equals and "@" not in address:
        return UsageError(
            f"teacher `{shown}` has no address",
            hint="write `name=model@http://host:port/v1`; keys are read from environment variables",
        )
    if equals and head:
        return UsageError(
            f"the address of teacher `{hide_keys(head)[:_MAX_NAME]}` is not a URL",
            hint="write `name=model@http://host:port/v1`, with `http://` or `https://`",
        )
    return UsageError(
        f"unknown teacher `{shown}`{nearest(shown, list(known))}",
        hint=f"teachers: {', '.join(known)}; or `student`, `name=model@http://host:port/v1`, or "
        "`hf:PATH`",
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
