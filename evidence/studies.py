"""A study: units of work, each published as soon as it is finished and never repeated.

Units live in the working folder, one JSON file each. The study's file in `docs/results/` is written
anew after every unit, so that it holds whatever is finished and names what is not.
"""

import json
import platform
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from lorapar_cli import __version__
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Event, Note
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json

SCHEMA = 1
_LIBRARIES = ("torch", "transformers", "peft", "trl", "numpy")
_DIGITS = 5
_PUBLISHED = ("cpu_seconds", "cpu_at_least", "made_with", "result")


@dataclass(frozen=True)
class Unit:
    """A part of a study that is done in minutes.

    Attributes:
        name: Unique in the study; names a folder.
        settings: Everything that the result depends on besides the code, as JSON.
        measure: Returns the result, as JSON; may leave files in the folder and the one above, which
            is the study's own.
    """

    name: str
    settings: Mapping[str, Any]
    measure: Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Study:
    """A question and the units that answer it.

    Attributes:
        name: Of the command, and of the file of results.
        title: Heading of its tables.
        command: What anyone can run to repeat it.
        seeds: Of the measured trainings, or those that draw samples.
        settings: That all units share, for the reader.
        inputs: Name -> sha256 of what the study reads besides this repository.
    """

    name: str
    title: str
    command: str
    seeds: Sequence[int]
    units: Sequence[Unit]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def run_study(
    study: Study, work: Path, out: Path, say: Callable[[str], None], only: Sequence[str] = ()
) -> Path:
    """Measures the units that are not finished and returns the study's file of results.

    Args:
        work: Working folder of all studies.
        out: Folder of the file.
        say: Takes a line of progress.
        only: Names of the units to measure; none for all.

    Raises:
        LoraparError: `only` names a unit that the study does not have.
    """
    names = [unit.name for unit in study.units]
    if unknown := [name for name in only if name not in names]:
        raise LoraparError(
            f"study `{study.name}` has no unit `{unknown[0]}`", hint=f"units: {', '.join(names)}"
        )
    publish(study, work, out)
    for unit in study.units:
        folder = work / study.name / unit.name
        if finished(folder, unit) is not None or (only and unit.name not in only):
            continue
        say(f"{study.name}: {unit.name}")
        folder.mkdir(parents=True, exist_ok=True)
        with _cpu_clock(folder / "cpu.json", unit) as spent:
            result = unit.measure(folder)
        _write(
            folder / "unit.json",
            {
                "settings": unit.settings,
                **spent(),
                "made_with": _made_with(),
                "result": result,
            },
        )
        publish(study, work, out)
    return publish(study, work, out)


def finished(folder: Path, unit: Unit) -> dict[str, Any] | None:
    """Returns what a finished unit published, None where it has other settings or is not finished."""
    path = folder / "unit.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = read_json(path)
    return content if content["settings"] == _plain(unit.settings) else None


def publish(study: Study, work: Path, out: Path) -> Path:
    """Writes the file of results: what is finished, and the names of what is not."""
    found = {unit.name: finished(work / study.name / unit.name, unit) for unit in study.units}
    path = out / f"{study.name}.json"
    _write(
        path,
        {
            "schema": SCHEMA,
            "study": study.name,
            "title": study.title,
            "command": study.command,
            "seeds": list(study.seeds),
            "settings": study.settings,
            "inputs": study.inputs,
            "unfinished": [name for name, content in found.items() if content is None],
            "units": {
                name: {key: content[key] for key in _PUBLISHED if key in content}
                for name, content in found.items()
                if content is not None
            },
        },
    )
    return path


def rounded(value: Any) -> Any:
    """Returns JSON with every number to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        json.dump(rounded(content), file, indent=1, ensure_ascii=False)
        file.write("\n")


def _made_with() -> dict[str, str]:
    libraries = {name: version(name) for name in _LIBRARIES}
    made = {"lorapar": __version__, "machine": describe(), "python": platform.python_version()}
    if torch.cuda.is_available():
        made["gpu"] = torch.cuda.get_device_name()
    return made | libraries


def _cpu_seconds() -> float:
    """Returns the processor time of this process and of those that it has waited for."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@contextmanager
def _cpu_clock(path: Path, unit: Unit) -> Iterator[Callable[[], dict[str, Any]]]:
    """Counts processor time, also that of attempts that raised.

    What a killed one took is not known; its file is still open, and the time is then said to be the
    least that it can have been.
    """
    settings = _plain(unit.settings)
    before, at_least = 0.0, {}
    if path.is_file() and (earlier := read_json(path))["settings"] == settings:
        before = float(earlier["cpu_seconds"])
        if earlier.get("open") or "cpu_at_least" in earlier:
            at_least = {"cpu_at_least": True}
    started = _cpu_seconds()

    def spent() -> dict[str, Any]:
        return {"cpu_seconds": before + _cpu_seconds() - started, **at_least}

    _write(path, {"settings": settings, **spent(), "open": True})
    try:
        yield spent
    finally:
        _write(path, {"settings": settings, **spent(), "open": False})


def line_of(event: Event) -> str | None:
    """Returns an event of a stage as a line, None for one that need not be read."""
    if isinstance(event, Note):
        return event.text
    if isinstance(event, Advance) and event.task.startswith("cell "):
        return ", ".join([f"{event.task} training {event.done}", *event.figures])
    return None
