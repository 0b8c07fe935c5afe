"""Strange values in files of settings: each means something, or is refused before anything runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness import Case, Lost, Result, make_logs, run
from tests.faults.pipeline import pipeline

KIND = "values in files of settings"
VALUES = {
    "nothing": "~",
    "false": "false",
    "no text": "''",
    "text": "x",
    "a number": "3",
    "less than nothing": "-1",
    "a number of 18,000 hexadecimal digits": f"0x{'f' * 18_000}",
    "a number of 400 digits": "9" * 400,
    "a number of 60 digits": "9" * 60,
    "not a number": ".nan",
    "infinity": "-.inf",
    "more than a float": "1e999",
    "a date": "2026-11-27",
    "bytes": "!!binary aGk=",
    "a set": "!!set {a}",
    "an object": "!!python/object/apply:os.system [x]",
    "an alias of what contains it": "&a [*a]",
    "a mapping": "{a: 1}",
    "a list of lists": "[[1], [x]]",
    "another error": '"\\e[31mred\\nerror: forged\\x85\\u202e"',
    "a long text": "x" * 100_000,
    "many values": f"[{', '.join(map(str, range(20_000)))}]",
}
GRID = (
    *("title: V", "model: V", "seeds: V", "seeds: [V]", "theta: V", "virtual-tokens: V"),
    *("order: V", "method: V", "splitter: V", "score: V", "score: {r: V}", "score.init-scale: V"),
    *("grid: V", "grid: {theta: V}", "grid: {theta: [V]}", "grid: {data: V}"),
    *("grid: {data: {a: V}}", "rows: V", "rows: [V]", "rows: [{name: V}]", "embedded: V"),
    *("table: V", "table: {figures: V}", "table: {published: [{first: V}]}", "? V\n: 1"),
)
CELLS = (
    *("V", "a: V", "a: {rank: V}", "a: {trains: V}", "a: {partition: V}", "? V\n: {rank: 1}"),
    *("a: {partition: {theta: V}}", "a: {score: {target-modules: V}}", "a: {train-sft: {data: V}}"),
)
RUN = (
    *("run_dir: V", "model: V", "seed: V", "teachers: V", "teachers: {own: V}", "? V\n: 1"),
    *("teachers: {own: {base_url: V, model: m}}", "score: V", "score: {r: V}", "eval: {limit: V}"),
    *("score: {target-modules: V}", "train-sft: {training: V}", "train-sft: {training: {a: V}}"),
    "train-rl: {rewards: V}",
)
_FILES = {"grid": GRID, "cells": CELLS, "run": RUN}
_COMMANDS = {
    "grid": ["sweep", "grid.yaml", "--dry-run"],
    "cells": ["compare", "--cells", "paper,cells.yaml", "--run-dir", "empty"],
    "run": ["run", "run.yaml", "--dry-run"],
}
# What says that cells were taken, in a run directory that has nothing to compare.
_TAKEN = "no scored adapter in run directory"


def cases(_: int) -> Iterator[Case]:
    for file, places in _FILES.items():
        for place in places:
            name = place.replace("\n", " ")
            yield Case(
                KIND, f"{file}, {name}", partial(_values, file, place), quick=place == "a: V"
            )


def _values(file: str, place: str, folder: Path) -> None:
    """Every value is taken or refused, in a few lines that show what it is."""
    logs = make_logs(folder)
    lost = []
    for name, value in VALUES.items():
        (folder / f"{file}.yaml").write_text(_text(file, place, value), encoding="utf-8")
        try:
            _require_answer(run(_COMMANDS[file], logs, cwd=folder))
        except Lost as why:
            lost.append(f"{name}: {why}")
        if left := {path.name for path in folder.iterdir()} - {"logs", f"{file}.yaml"}:
            lost.append(f"{name}: it has written {', '.join(sorted(left))}")
    if lost:
        raise Lost("\n".join(lost))


def _text(file: str, place: str, value: str) -> str:
    stated = place.replace("V", value)
    if file == "cells":
        return f"{stated}\n"
    common = {
        "model": str(pipeline().model),
        "classify": f"{{data: {pipeline().data}, teachers: [rules-shape], holdout: 0.2}}",
    }
    lines = [f"{key}: {own}" for key, own in common.items() if not place.startswith(f"{key}:")]
    return "\n".join([*lines, stated, ""])


def _require_answer(done: Result) -> None:
    """Raises Lost unless a command was taken or refused, in plain characters."""
    done.require_sane()
    if strange := {c for c in done.said if not (c.isprintable() or c == "\n")}:
        raise Lost(f"prints {strange!r}")
    if any(line.startswith("error: forged") for line in done.said.splitlines()):
        raise Lost(f"a value stands as an error of its own: {done.err[-300:]}")
