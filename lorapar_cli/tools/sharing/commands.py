"""The command lines of a run's stages: to be repeated, and as a model card may show them."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.names import Stage
from lorapar_cli.options import Option, options_of
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.run_results import STAGE_OPTIONS
from lorapar_cli.tools.sharing.privacy import base_name, looks_like_path

_LONGEST = 120


def command_line(manifest: Manifest) -> str:
    """Returns what was typed for a stage; files by name alone, without the run directory."""
    return _line(manifest, data_names(manifest), _plain)


def repeated_command(manifest: Manifest, root: Path) -> str:
    """Returns what gives a stage again, with its options; `FILE` for what no command line holds.

    Args:
        root: The run directory, which the command does not name.
    """
    return _line(manifest, _data_places(manifest, root), _whole)


def given_options(manifest: Manifest) -> Iterator[str]:
    """Yields the options that a stage was given, each with its value, as they are typed."""
    for each in options_of(STAGE_OPTIONS[Stage(manifest.stage)]):
        if each.name in manifest.given:
            yield from _words(each, manifest, _whole)


def _line(manifest: Manifest, data: list[str], show: Callable[[Any], str]) -> str:
    stage = Stage(manifest.stage)
    words = ["lorapar", stage.value]
    for each in options_of(STAGE_OPTIONS[stage]):
        if each.name not in manifest.given:
            continue
        if each.name == "data" and each.name not in manifest.settings:
            before = "" if each.stated.argument else f"{each.flag} "
            words += (f"{before}{shlex.quote(name)}" for name in data)
        words += _words(each, manifest, show)
    return " ".join(words)


def _words(each: Option, manifest: Manifest, show: Callable[[Any], str]) -> Iterator[str]:
    if each.name not in manifest.settings:
        return
    value = manifest.settings[each.name]
    if isinstance(value, bool):
        # Only a switch that is on by default has a name for off.
        if value or each.default:
            yield each.flag if value else each.flag.replace("--", "--no-", 1)
    elif isinstance(value, (list, dict)):
        parts = [show(part) for part in value]
        if each.stated.repeatable:
            yield from (f"{each.flag} {shlex.quote(part)}" for part in parts)
        elif parts:
            yield f"{each.flag} {shlex.quote(','.join(parts))}"
    elif value is not None:
        yield f"{each.flag} {shlex.quote(show(value))}"


def _whole(value: Any) -> str:
    text = str(value)
    return "FILE" if "\n" in text else text


def _plain(value: Any) -> str:
    """Returns a value for a command line: the name of a file, no text of a file."""
    text = str(value)
    if "\n" in text or len(text) > _LONGEST:
        return "FILE"
    name, equals, rest = text.partition("=")
    if equals and looks_like_path(rest):
        return f"{name}={base_name(rest)}"
    return base_name(text) if looks_like_path(text) else text


def data_names(manifest: Manifest) -> list[str]:
    """Returns the data that a stage was given: names on the Hub, and names of files."""
    return [
        data["path"] if data.get("source") == "hub" else base_name(data["path"])
        for data in _data_of(manifest)
    ]


def _data_places(manifest: Manifest, root: Path) -> list[str]:
    """Returns the same as somebody on this machine types it."""
    elsewhere = ("hub", "stdin", "several")
    return [
        data["path"] if data.get("source") in elsewhere else str(root / data["path"])
        for data in _data_of(manifest)
    ]


def _data_of(manifest: Manifest) -> Iterator[dict[str, str]]:
    return (data for name, data in manifest.inputs.items() if name.startswith("data"))
