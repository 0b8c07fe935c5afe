"""From a grid file to its cells: every combination of rows and axes, with all its settings."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli import embedded
from lorapar_cli.comparison.cells import Settings, read_settings
from lorapar_cli.comparison.sweep.axes import (
    EXCLUDED,
    OPTIONS,
    PEFT_METHODS,
    Draft,
    Method,
    Order,
)
from lorapar_cli.comparison.sweep.grid_file import ROW, Changes, GridFile, Row, Value
from lorapar_cli.errors import UsageError
from lorapar_cli.names import EMBEDDED, Stage
from lorapar_cli.plurals import counted
from lorapar_cli.store.yaml_file import read_yaml
from lorapar_cli.training.inputs import ALL

VIRTUAL_TOKENS = 20
MOST_CELLS = 5_000
"""Of a grid, counted with its seeds."""


@dataclass(frozen=True)
class Cell:
    """One combination of rows and axes with one seed.

    Attributes:
        labels: Axis -> label of its value.
        sections: Stage -> options that are stated for it.
        model: Base model.
        virtual_tokens: Of the methods that have some.
    """

    labels: Mapping[str, str]
    seed: int
    sections: Mapping[Stage, Settings]
    model: str
    method: Method
    order: Order
    virtual_tokens: int

    @property
    def name(self) -> str:
        """What progress and messages call it, on one line."""
        parts = [value if axis == ROW else f"{axis} {value}" for axis, value in self.labels.items()]
        return ", ".join([*parts, f"seed {self.seed}"]).replace("\n", "\\n")

    def section(self, stage: Stage) -> Settings:
        """Returns the options that are stated for a stage."""
        return self.sections.get(stage, {})


def make_cells(
    file: GridFile, model: str | None, data: Path | None, seeds: Sequence[int]
) -> list[Cell]:
    """Returns the cells of a grid, those of the first seed first.

    Args:
        model: Base model in place of the file's.
        data: Training records of the embedded corpus; None for the grid of the real model.
    """
    on_embedded = data is not None
    named = EMBEDDED if on_embedded else model or file.model
    if named is None:
        raise UsageError(
            f"grid `{file.path}` names no base model",
            hint="add `model:` with a folder or a hub id, or give `--model` or `--embedded`",
        )
    _require_countable(file, seeds, on_embedded)
    base = {} if data is None else _embedded_sections(data)
    chosen = [
        (row, values)
        for row in file.rows
        if row.changes.are_for(on_embedded)
        for values in _combinations(file, row, on_embedded)
    ]
    return [
        _make_cell(file, row, values, named, base, on_embedded, seed)
        for seed in seeds
        for row, values in chosen
    ]


def _require_countable(file: GridFile, seeds: Sequence[int], on_embedded: bool) -> None:
    """Refuses a grid whose cells are too many, before any of them is made."""
    combinations = sum(
        math.prod(map(len, _axes_of(file, row, on_embedded).values()))
        for row in file.rows
        if row.changes.are_for(on_embedded)
    )
    if (cells := combinations * len(seeds)) > MOST_CELLS:
        raise UsageError(
            f"grid `{file.path}` has more than {MOST_CELLS:,} cells",
            f"{counted(combinations, 'combination')} with {counted(len(seeds), 'seed')} each are {cells:,}",
            "give fewer seeds or values, or divide the grid among several files",
        )


def _combinations(file: GridFile, row: Row, on_embedded: bool) -> Iterator[dict[str, Value]]:
    axes = _axes_of(file, row, on_embedded)
    return (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def _axes_of(file: GridFile, row: Row, on_embedded: bool) -> dict[str, list[Value]]:
    """Returns name -> values of each axis of a row, those of the chosen model."""
    axes = {**file.axes, **row.axes}
    return {
        name: [value for value in values if value.changes.are_for(on_embedded)]
        for name, values in axes.items()
    }


def _embedded_sections(data: Path) -> dict[Stage, Settings]:
    """Returns the demo's settings, on the embedded corpus and without replay, which the paper has not."""
    content = read_yaml(Path(embedded.__file__).parent / "demo.yaml")
    problems: list[str] = []
    sections = {
        stage: read_settings(stage.value, kind, content.get(stage.value, {}), problems, EXCLUDED)
        for stage, kind in OPTIONS.items()
    }
    if problems:
        raise AssertionError(problems)
    own: dict[Stage, dict[str, Any]] = {
        Stage.CLASSIFY: {"data": (str(data),), "holdout": 0.0},
        Stage.EVAL: {"data": str(embedded.TEST_SET)},
        Stage.TRAIN_RL: {"replay": 0.0},
    }
    return {stage: {**settings, **own.get(stage, {})} for stage, settings in sections.items()}


def _make_cell(
    file: GridFile,
    row: Row,
    values: Mapping[str, Value],
    model: str,
    base: Mapping[Stage, Settings],
    on_embedded: bool,
    seed: int,
) -> Cell:
    draft = Draft({stage: dict(settings) for stage, settings in base.items()}, {})
    for changes in (file.fixed, row.changes, *(value.changes for value in values.values())):
        _apply(changes, draft, on_embedded)
    method = draft.special.get("method", "lora-par")
    cell = Cell(
        ({ROW: row.name} if row.name else {})
        | {axis: value.label for axis, value in values.items()},
        seed,
        draft.sections,
        model,
        method,
        draft.special.get("order", _DEFAULT_ORDER.get(method, "sft-rl")),
        draft.special.get("virtual-tokens", VIRTUAL_TOKENS),
    )
    if method != "lora-par" or not draft.special.get("split", True):
        _train_on_all(draft.sections)
    return cell


_DEFAULT_ORDER: Mapping[str, Order] = {
    "base": "none",
    **dict.fromkeys(PEFT_METHODS, "sft-sft"),
}


def _apply(changes: Changes, draft: Draft, on_embedded: bool) -> None:
    """Enters settings into those of a cell; what is stated for the real model's stages stays there."""
    if not on_embedded:
        for stage, settings in changes.sections.items():
            draft.sections.setdefault(stage, {}).update(settings)
    for setting in changes.settings:
        setting.apply(draft)
    if on_embedded and changes.embedded is not None:
        for stage, settings in changes.embedded.sections.items():
            draft.sections.setdefault(stage, {}).update(settings)
        for setting in changes.embedded.settings:
            setting.apply(draft)


def _train_on_all(sections: dict[Stage, dict[str, Any]]) -> None:
    """Makes the training stages read all records, unless the grid says which.

    There is nothing to replay then: the other system's records are among them.
    """
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        own = sections.setdefault(stage, {})
        if "data" not in own:
            own |= {"data": ALL, "replay": 0.0}
            own.pop("replay_source", None)
