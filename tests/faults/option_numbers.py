"""Strange numbers for every option that takes one: each means something, or is refused by name."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import typer

from lorapar_cli.cli import main as command_line
from lorapar_cli.limits import LARGEST_SEED
from tests.faults.harness import Case, Lost, Result, make_logs, run
from tests.faults.pipeline import pipeline

KIND = "numbers as options"
NUMBERS = (
    *("nan", "inf", "-inf", "1e999", "1e400", "1e-320", "-0", "-0.0", "-1", "0", "true", "", "1,5"),
    *("9" * 30, "-" + "9" * 30, "9" * 400, str(2**31), str(2**63), "0x10", "1_000", " 1", "١", "½"),
)
# What takes its time with a number that is right, and the largest of these.
LONG = {("eval", "--samples"): 10_000, ("demo", "--seed"): LARGEST_SEED}
# What says that a number was taken, of a command that has nothing to work on.
TAKEN = {"compare": "no scored adapter in run directory"}
GRID = "model: MODEL\nclassify: {data: DATA, teachers: [rules-shape], holdout: 0.2}\n"


def cases(_: int) -> Iterator[Case]:
    for command, option in numeric_options():
        yield Case(KIND, f"{command} {option}", partial(_options, command, option))


def numeric_options() -> list[tuple[str, str]]:
    """Returns command and option of everything that takes a number."""
    command_line.register()
    commands = typer.main.get_command(command_line.app).commands  # type: ignore[attr-defined]
    return [
        (name, parameter.opts[0])
        for name, command in sorted(commands.items())
        for parameter in command.params
        if parameter.type.name.startswith(("int", "float"))
    ]


def _options(command: str, option: str, folder: Path) -> None:
    """Each number is taken and means something, or is refused by the option's name."""
    logs = make_logs(folder)
    pipeline().copy(folder, "partition")
    grid = GRID.replace("MODEL", str(pipeline().model)).replace("DATA", str(pipeline().data))
    (folder / "grid.yaml").write_text(grid, encoding="utf-8")
    lost = []
    for number in NUMBERS:
        if _is_whole(number, LONG.get((command, option), -1)):
            continue
        try:
            done = run([*_cheap(command), f"{option}={number}"], logs, cwd=folder, timeout=30)
            if done.require_sane().code != 0 and not _taken(command, done):
                done.require_refused(option)
            _require_finite(folder)
        except Lost as why:
            lost.append(f"{option}={number}: {why}")
    if lost:
        raise Lost("\n".join(lost))


def _taken(command: str, done: Result) -> bool:
    return command in TAKEN and TAKEN[command] in done.err


def _is_whole(number: str, at_most: int) -> bool:
    try:
        return 0 <= int(number) <= at_most
    except ValueError:
        return False


def _cheap(command: str) -> list[str]:
    return {
        "classify": ["classify", str(pipeline().data), "--teachers", "rules-shape", "--dry-run"],
        "train-sft": [*pipeline().command("train-sft"), "--dry-run"],
        "train-rl": ["train-rl", "--from", "init", "--dry-run", "--run-dir", "run"],
        "inspect": ["inspect", "run/score"],
        "demo": ["demo", "--run-dir", "demo"],
        "compare": ["compare", "--run-dir", "empty"],
        "sweep": ["sweep", "grid.yaml", "--dry-run"],
        "doctor": ["doctor", "--model", str(pipeline().model)],
        "eval show": ["eval", "show", "--run-dir", str(pipeline().root / "run")],
        "eval compare": ["eval", "compare", *[str(pipeline().root / "run")] * 2],
    }.get(command) or pipeline().command(command)


def _require_finite(folder: Path) -> None:
    """Raises Lost where a manifest holds a number that JSON has not."""
    for path in folder.rglob("manifest.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        except ValueError as cause:
            raise Lost(f"{path.parent.name}'s manifest: {cause}") from cause


def _refuse(constant: str) -> None:
    raise ValueError(f"holds {constant}")
