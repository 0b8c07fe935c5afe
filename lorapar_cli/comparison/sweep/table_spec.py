"""How the results of a grid are laid out as a table, and the published figures beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorapar_cli.comparison.sweep.axes import label_of
from lorapar_cli.errors import nearest
from lorapar_cli.finite import is_finite

FIGURES = {
    "base": "base %",
    "first": "accuracy % after the first stage",
    "second": "accuracy % after the second stage",
    "active": "active %",
    "active-second": "active % in the second stage",
    "jaccard": "Jaccard",
    "kl": "KL from base",
    "neutral": "neutral loss",
    "loss-system1": "loss System 1",
    "loss-system2": "loss System 2",
}
"""Figure of a cell -> head of its column. `first` of the method `base` is the base model's accuracy."""

FORGETTING = ("kl", "neutral", "loss-system1", "loss-system2")
"""Figures of the last stage; losses are changes from the base model's."""

_KEYS = ("rows", "columns", "figures", "published", "note")
_DEFAULT = ("first", "second")


@dataclass(frozen=True)
class Published:
    """Published figures of the cells with these labels, axis -> label."""

    labels: Mapping[str, str]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class TableSpec:
    """The layout of a table.

    Attributes:
        rows, columns: Axes down and across.
        figures: Figure -> head of its column.
        note: A sentence below the table; empty for none.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    figures: Mapping[str, str]
    published: Sequence[Published] = ()
    note: str = ""
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_table(value: Any, values: Mapping[str, Sequence[str]], problems: list[str]) -> TableSpec:
    """Returns the layout that a grid file asks for, by default all axes down.

    Args:
        values: Axis -> labels, in order.
        problems: Where a sentence is added for whatever cannot be used.
    """
    if value is not None and not isinstance(value, dict):
        problems.append(f"`table` is {value!r}, not a mapping")
    stated = value if isinstance(value, dict) else {}
    for key in stated:
        if key not in _KEYS:
            problems.append(f"`table.{key}` is unknown{nearest(str(key), [*_KEYS])}")
    columns = _read_axes("columns", stated.get("columns", []), values, problems)
    default = [axis for axis in values if axis not in columns]
    rows = _read_axes("rows", stated.get("rows", default), values, problems)
    if left := [axis for axis in values if axis not in (*rows, *columns)]:
        problems.append(f"`table` has no place for {', '.join(f'`{axis}`' for axis in left)}")
    note = stated.get("note", "")
    if not isinstance(note, str):
        problems.append(f"`table.note` is {note!r}, not text")
    return TableSpec(
        rows,
        columns,
        _read_figures(stated.get("figures"), problems),
        _read_published(stated.get("published"), values, problems),
        str(note),
        values,
    )


def _read_axes(
    key: str, value: Any, values: Mapping[str, Sequence[str]], problems: list[str]
) -> list[str]:
    if not isinstance(value, list):
        problems.append(f"`table.{key}` is {value!r}, not a list of axes")
        return []
    names = [str(each).replace("_", "-") for each in value]
    for name in names:
        if name not in values:
            problems.append(f"`table.{key}`: no axis is `{name}`{nearest(name, [*values])}")
    return [name for name in names if name in values]


def _read_figures(value: Any, problems: list[str]) -> dict[str, str]:
    if value is None:
        return {name: FIGURES[name] for name in _DEFAULT}
    if isinstance(value, dict):
        stated = {str(name).replace("_", "-"): str(head) for name, head in value.items()}
    elif isinstance(value, list):
        stated = {str(name): FIGURES.get(str(name), "") for name in value}
    else:
        problems.append(f"`table.figures` is {value!r}, not figures or figures with their heads")
        return {}
    for name in stated:
        if name not in FIGURES:
            problems.append(f"`table.figures`: no figure is `{name}`{nearest(name, [*FIGURES])}")
    return stated


def _read_published(
    value: Any, values: Mapping[str, Sequence[str]], problems: list[str]
) -> list[Published]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append("`table.published` is not a list of mappings")
        return []
    found = []
    for number, each in enumerate(value, 1):
        place = f"table.published[{number}]"
        labels: dict[str, str] = {}
        figures: dict[str, float] = {}
        for key, part in each.items():
            name = str(key).replace("_", "-")
            if name in FIGURES:
                is_number = type(part) in (int, float) and is_finite(part)
                figures[name] = part if is_number else 0
                if not is_number:
                    problems.append(f"`{place}.{name}` is {part!r}, not a number")
            elif name not in values:
                known = [*values, *FIGURES]
                problems.append(f"`{place}.{name}` is unknown{nearest(name, known)}")
            elif label_of(part) not in values[name]:
                shown = nearest(label_of(part), [*values[name]])
                problems.append(f"`{place}`: `{name}` has no `{label_of(part)}`{shown}")
            else:
                labels[name] = label_of(part)
        found.append(Published(labels, figures))
    return found
