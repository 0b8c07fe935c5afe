"""Markup and control characters in names, data and errors: shown inert, and nothing of it eaten."""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.faults.harness import Case, Lost, Result, fraction, make_logs, run
from tests.faults.injection_sites import SITES, SLOW

PLAIN = "injection, plain output"
TERMINAL = "injection, terminal"

PAYLOADS = {
    "nothing odd": "x y",
    "closing markup": "[/]",
    "colour markup": "[red]x",
    "link markup": "[link=file:x]y",
    "bold, never closed": "[bold",
    "markup of another style": "[/bold]",
    "emoji code": ":warning:",
    "colour": "\x1b[38;5;201mred",
    "title": "\x1b]0;owned\x07",
    "clear the screen": "\x1b[2J\x1b[H",
    "hyperlink": "\x1b]8;;file:x\x1b\\y\x1b]8;;\x1b\\",
    "device control": "\x1bPq\x1b\\",
    "carriage return": "\rwritten",
    "backspaces": "\x08\x08\x08",
    "delete": "\x7f\x7f",
    "bell": "\x07",
    "C1 colour": "\x9b31mx",
    "C1 title": "\x9d0;owned\x9c",
    "next line": "\x85x\x0by\x0cz",
    "right to left": "\u202egnp.exe\u202c",
    "isolates": "\u2066x\u2069\u200fy",
    "line separators": "\u2028x\u2029y",
    "newline": "\nerror: x",
}
ALWAYS = ("closing markup", "colour markup", "colour", "title")
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
# Colours, cursor and line erasing, as bars and tables of our own use them.
_OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r")
_FRAMES = re.compile(r"[\s\u2500-\u257f]+")


def cases(seed: int) -> Iterator[Case]:
    for site in SITES:
        for name in PAYLOADS:
            chance = fraction(seed, site, name)
            if site not in SLOW or name in ALWAYS or chance < 0.4:
                yield Case(PLAIN, f"{site}: {name}", partial(_inject, site, name, False))
            if name in ALWAYS or chance < 0.15:
                yield Case(TERMINAL, f"{site}: {name}", partial(_inject, site, name, True))


def _inject(site: str, name: str, on_terminal: bool, folder: Path) -> None:
    """Runs a site's commands with `Qq<payload>Zz` for the datum."""
    logs = make_logs(folder)
    datum = f"Qq{PAYLOADS[name]}Zz"
    commands, shown = SITES[site]
    seen = False
    for command in commands(folder, datum):
        done = run(command, logs, cwd=folder, on_terminal=on_terminal).require_sane()
        require_inert(done, PAYLOADS[name], on_terminal)
        if shown:
            seen = _require_whole(done, PAYLOADS[name], datum) or seen
    if shown and not seen:
        raise Lost(f"{datum!r} is shown nowhere: {done.said[-500:]!r}")


def require_inert(done: Result, payload: str, on_terminal: bool) -> None:
    """Raises Lost where a control character of the payload reached the output."""
    said = done.said
    if on_terminal:
        for own in _OWN.findall(payload):
            if f"Qq{own}" in said or own in said.replace("\r", ""):
                raise Lost(f"raw {own!r} reaches the terminal: {_around(said, own)}")
        said = _OWN.sub("", said)
    for letter in set(said) - {"\n", "\t"}:
        if unicodedata.category(letter) == "Cc" or letter in _BIDI:
            raise Lost(f"raw {letter!r} reaches the output: {_around(said, letter)}")


def _around(said: str, part: str) -> str:
    place = said.find(part)
    return repr(said[max(0, place - 100) : place + 60])


def _require_whole(done: Result, payload: str, datum: str) -> bool:
    """Returns whether the datum stands in the output: what can be read of it, in JSON exactly.

    Raises:
        Lost: Its beginning does, and the rest does not.
    """
    if "--json" in done.arguments and done.code == 0:
        if done.out == done.err:  # A terminal, where notes stand between.
            return False
        return any(datum in text for text in _texts(json.loads(done.out)))
    said = _FRAMES.sub("", _unfolded(_OWN.sub("", done.said)))
    words = [re.escape(_FRAMES.sub("", part)) for part in re.split(r"[^\x20-\x7e]", payload)]
    whole = re.compile(".{0,40}".join(["Qq", *filter(None, words), "(Zz|…)"]))
    places = [found.start() for found in re.finditer("Qq", said)]
    for place in places:
        if not whole.match(said, place) and "…" not in said[place : place + len(datum)]:
            raise Lost(f"of {datum!r} a part is missing: {said[place : place + 60]!r}")
    return bool(places)


def _unfolded(said: str) -> str:
    """Returns what was printed, tables column by column: long cells are continued below."""
    rows = [line.split("│") for line in said.splitlines() if "│" in line]
    others = [line for line in said.splitlines() if "│" not in line]
    columns = ["".join(map(str.strip, column)) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join([*others, *columns])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in _texts(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in _texts(part))
