"""Reads a grid file: every key and value is checked, and all problems are in one message."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.comparison.cells import Settings, read_settings
from lorapar_cli.comparison.sweep.axes import (
    EXCLUDED,
    OPTIONS,
    SHORT_NAMES,
    Setting,
    is_setting,
    label_of,
    read_setting,
)
from lorapar_cli.comparison.sweep.table_spec import FIGURES, TableSpec, read_table
from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.limits import LARGEST_SEED, MOST_SEEDS
from lorapar_cli.names import Stage
from lorapar_cli.store.yaml_file import read_yaml

ROW = "row"
"""Name of the axis whose values are the rows of the file."""
SEED = "seed"
_TOP = ("title", "model", "seeds", "grid", "rows", "table", "embedded")
_ROW = ("name", "grid", "embedded")

Runs = Literal["both", "real", "embedded"]


@dataclass(frozen=True)
class Changes:
    """Settings that a file, a row or a value of an axis states.

    Attributes:
        settings: Short names and `stage.option`; they hold for every model.
        sections: Stage -> options, of the real model.
        embedded: What takes the place of the sections on the embedded model.
        runs: On which of the two models there is such a row or value at all.
    """

    settings: tuple[Setting, ...] = ()
    sections: Mapping[Stage, Settings] = field(default_factory=dict)
    embedded: "Changes | None" = None
    runs: Runs = "both"

    def are_for(self, embedded: bool) -> bool:
        """Returns whether the row or value is run on that model."""
        return self.runs in ("both", "embedded" if embedded else "real")


@dataclass(frozen=True)
class Value:
    """One value of an axis: its label in tables, and what it changes."""

    label: str
    changes: Changes


Axes = Mapping[str, Sequence[Value]]


@dataclass(frozen=True)
class Row:
    """One row of `rows`: a name, what it changes, and axes of its own."""

    name: str
    changes: Changes
    axes: Axes


@dataclass(frozen=True)
class GridFile:
    """A grid file as it stands, checked.

    Attributes:
        seeds: Of the trainings of each cell.
        fixed: What all cells have.
        rows: One without a name where the file has none.
    """

    path: Path
    title: str
    model: str | None
    seeds: tuple[int, ...]
    fixed: Changes
    rows: Sequence[Row]
    axes: Axes
    table: TableSpec


def read_grid_file(path: Path) -> GridFile:
    """Returns the content of a grid file.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: It is not a grid; every problem in one message.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"`{path}` is not a mapping of settings")
    problems: list[str] = []
    content = {_dashed(key): value for key, value in content.items()}
    fixed = _read_changes(content, "", problems, _TOP)
    axes = _read_axes(content.get("grid"), "grid", problems)
    rows = _read_rows(content.get("rows"), problems)
    for row in rows:
        for name in (*axes, *row.axes):
            stated = {setting.name for setting in row.changes.settings}
            if name in stated:
                problems.append(f"row `{row.name}` has a `{name}`, which is an axis too")
    values = _labels(axes, rows)
    title = content.get("title", path.stem)
    file = GridFile(
        path,
        title if isinstance(title, str) else _refuse("title", title, "text", problems),
        _read_model(content.get("model"), problems),
        _read_seeds(content.get("seeds", 1), problems),
        fixed,
        rows or [Row("", Changes(), {})],
        axes,
        read_table(content.get("table"), values, problems),
    )
    if problems:
        raise UsageError(
            f"grid `{path}` cannot be used", "\n".join(dict.fromkeys(problems)), _EXAMPLE
        )
    return file


_EXAMPLE = "a grid looks like `grid: {alpha: [0, 1], beta: [0, 1]}`; see docs/guides/sweep.md"


def _dashed(key: Any) -> str:
    return str(key).replace("_", "-")


def _refuse(place: str, value: Any, wanted: str, problems: list[str]) -> Any:
    problems.append(f"`{place}` is {value!r}, not {wanted}")
    return None


def _read_model(value: Any, problems: list[str]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    _refuse("model", value, "a folder or a hub id", problems)
    return None


def _read_seeds(value: Any, problems: list[str]) -> tuple[int, ...]:
    """Returns the seeds of a number of them, from 0, or of a list."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_SEEDS:
        return tuple(range(value))
    listed = value if isinstance(value, list) else []
    good = [n for n in listed if isinstance(n, int) and not isinstance(n, bool)]
    fit = all(0 <= n <= LARGEST_SEED for n in good) and len(set(good)) == len(good) <= MOST_SEEDS
    if good and good == listed and fit:
        return tuple(good)
    wanted = f"a number of seeds, at most {MOST_SEEDS:,}, or a list of as many different ones"
    _refuse("seeds", value, wanted, problems)
    return (0,)


def _read_changes(
    content: Mapping[str, Any], place: str, problems: list[str], own: Collection[str]
) -> Changes:
    """Returns the settings among the keys of a mapping.

    Args:
        place: Where it stands, with a dot at its end, for messages.
        own: Keys that the caller reads.
    """
    settings: list[Setting] = []
    sections: dict[Stage, Settings] = {}
    embedded: Changes | None = None
    runs: Runs = "both"
    for key, value in content.items():
        if key in OPTIONS:
            stage = Stage(key)
            kind = OPTIONS[stage]
            stated = {} if value is None else value
            sections[stage] = read_settings(f"{place}{key}", kind, stated, problems, EXCLUDED)
        elif is_setting(key):
            settings.append(read_setting(key, value, f"{place}{key}", problems))
        elif key == "embedded" and key in own:
            embedded, runs = _read_embedded(value, f"{place}embedded", problems, bool(place))
        elif key not in own:
            known = [*own, *OPTIONS, *SHORT_NAMES]
            problems.append(f"`{place}{key}` is unknown{nearest(key, known)}")
    return Changes(tuple(settings), sections, embedded, runs)


def _read_embedded(
    value: Any, place: str, problems: list[str], optional: bool
) -> tuple[Changes | None, Runs]:
    """Returns what holds on the embedded model, and on which models the owner is run.

    Args:
        optional: Whether the owner, a row or a value, may be left out on one of the models.
    """
    if isinstance(value, dict):
        dashed = {_dashed(key): each for key, each in value.items()}
        return _read_changes(dashed, f"{place}.", problems, ()), "both"
    if optional and value is False:
        return None, "real"
    if optional and value == "only":
        return None, "embedded"
    wanted = "`false`, `only` or a mapping of settings" if optional else "a mapping of settings"
    _refuse(place, value, wanted, problems)
    return None, "both"


def _read_axes(value: Any, place: str, problems: list[str]) -> Axes:
    """Returns name -> values of each axis: a list of one setting's, or a mapping of names to settings."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(place, value, "a mapping of axes to values", problems)
        return {}
    axes: dict[str, Sequence[Value]] = {}
    for key, values in value.items():
        name, where = _dashed(key), f"{place}.{_dashed(key)}"
        if not name.strip():
            problems.append(f"`{place}` has an axis without a name")
        elif name in (ROW, SEED) or name in FIGURES:
            problems.append(f"`{where}` is no name for an axis: tables have a column of that name")
        elif isinstance(values, dict) and values and not is_setting(name):
            axes[name] = [
                _read_named(str(label), each, f"{where}.{label}", problems)
                for label, each in values.items()
            ]
        elif isinstance(values, list) and values and is_setting(name):
            settings = [read_setting(name, each, where, problems) for each in values]
            axes[name] = [Value(each.label, Changes((each,))) for each in settings]
        elif isinstance(values, list) and not is_setting(name):
            problems.append(f"`{where}` is unknown{nearest(name, [*SHORT_NAMES])}")
        else:
            _refuse(where, values, "a list of values", problems)
        labels = [each.label for each in axes.get(name, ())]
        problems += [f"`{where}` has {each} twice" for each in _repeated(labels)]
    return axes


def _read_named(label: str, value: Any, place: str, problems: list[str]) -> Value:
    if value is not None and not isinstance(value, dict):
        _refuse(place, value, "a mapping of settings", problems)
        value = None
    dashed = {_dashed(key): each for key, each in (value or {}).items()}
    return Value(label, _read_changes(dashed, f"{place}.", problems, ("embedded",)))


def _read_rows(value: Any, problems: list[str]) -> list[Row]:
    if value is None:
        return []
    if not isinstance(value, list) or not value:
        _refuse("rows", value, "a list of rows", problems)
        return []
    rows = []
    for number, each in enumerate(value, 1):
        place = f"rows[{number}]"
        if not isinstance(each, dict):
            _refuse(place, each, "a mapping of settings", problems)
            continue
        content = {_dashed(key): part for key, part in each.items()}
        name = content.get("name")
        if not isinstance(name, str | int | float) or not str(name).strip():
            _refuse(f"{place}.name", name, "the name of a row", problems)
        changes = _read_changes(content, f"{place}.", problems, _ROW)
        axes = _read_axes(content.get("grid"), f"{place}.grid", problems)
        rows.append(Row(label_of(name), changes, axes))
    repeated = _repeated(row.name for row in rows)
    problems += [f"two rows are named `{each}`" for each in repeated]
    return rows


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _labels(axes: Axes, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Returns axis -> labels of all its values, in order."""
    found: dict[str, dict[str, None]] = {ROW: {row.name: None for row in rows}} if rows else {}
    for each in (axes, *(row.axes for row in rows)):
        for name, values in each.items():
            found.setdefault(name, {}).update((value.label, None) for value in values)
    return {name: [*labels] for name, labels in found.items()}
