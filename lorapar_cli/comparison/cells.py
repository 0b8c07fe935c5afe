"""The cells of a comparison: ways of choosing the elements that are trained."""

import json
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.limits import LARGEST_RANK
from lorapar_cli.names import Stage
from lorapar_cli.options import Options, find_problem, options_of
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.yaml_file import read_yaml
from lorapar_cli.training.options import RlOptions, SftOptions

Trains = Literal["selected", "all", "rank"]
Settings = Mapping[str, Any]
_NONE: Settings = types.MappingProxyType({})

OPTIONS: dict[Stage, type[Options]] = {
    Stage.SCORE: ScoreOptions,
    Stage.PARTITION: PartitionOptions,
    Stage.TRAIN_SFT: SftOptions,
    Stage.TRAIN_RL: RlOptions,
}
"""The stages whose settings a cell may change."""

PAPER, RANDOM, MOVEMENT = "paper", "random", "movement"


@dataclass(frozen=True)
class Cell:
    """A way of choosing what is trained, and settings in which it differs from the run.

    Attributes:
        trains: The elements that a partition selects, all elements, or a plain LoRA adapter of
            lower rank (`rank`).
        rank: Of that adapter; None for the one whose number of elements is nearest to `paper`'s.
        changes: Stage -> settings that replace the run's.
        size_of_paper: Whether each system's set has as many elements as that of `paper`, whatever
            share of the cell's own scores they hold.
    """

    name: str
    trains: Trains = "selected"
    rank: int | None = None
    changes: Mapping[Stage, Settings] = field(default_factory=dict)
    size_of_paper: bool = False

    def settings(self, stage: Stage) -> Settings:
        """Returns the settings of a stage in which the cell differs from the run."""
        return self.changes.get(stage, _NONE)


BUILT_IN = {
    cell.name: cell
    for cell in (
        Cell(PAPER),
        Cell(RANDOM, changes={Stage.PARTITION: {"select": "random"}}, size_of_paper=True),
        Cell("full", "all"),
        Cell("rank", "rank"),
        Cell(
            MOVEMENT,
            changes={Stage.SCORE: {"rule": "movement", "formula": "taylor2"}},
            size_of_paper=True,
        ),
        Cell("bottom", changes={Stage.PARTITION: {"select": "bottom"}}, size_of_paper=True),
    )
}
"""By priority: the last ones are left out first where time is short."""


def choose_cells(named: Sequence[str]) -> list[Cell]:
    """Returns the cells that `--cells` names, built-in ones first.

    Args:
        named: Names of built-in cells, which leave out the other ones, and YAML files.

    Raises:
        LoraparError, UsageError: A name is unknown, or a file is not one of cells.
    """
    files = [Path(name) for name in named if name not in BUILT_IN and _looks_like_file(name)]
    names = [name for name in named if name in BUILT_IN or not _looks_like_file(name)]
    for name in names:
        if name not in BUILT_IN:
            raise UsageError(
                f"unknown cell `{name}`{nearest(name, [*BUILT_IN])}",
                hint=f"built in: {', '.join(BUILT_IN)}; others come from a YAML file",
            )
    cells = {name: cell for name, cell in BUILT_IN.items() if not names or name in names}
    for path in files:
        for cell in read_cells(path):
            if cell.name in cells:
                raise UsageError(f"cell `{cell.name}` of `{path}` has a name that is taken")
            cells[cell.name] = cell
    return list(cells.values())


def _looks_like_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or Path(name).is_file()


def read_cells(path: Path) -> list[Cell]:
    """Returns the cells of a YAML file, a mapping of names to settings.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: It is not a file of cells; every problem in one message.
    """
    content = _read_mapping(path)
    if not content:
        raise UsageError(f"`{path}` has no cells", hint=_EXAMPLE)
    problems: list[str] = []
    cells = [_read_cell(str(name), stated, problems) for name, stated in content.items()]
    if problems:
        raise UsageError(f"cells of `{path}` cannot be used", "\n".join(problems), _EXAMPLE)
    return cells


def read_sections(path: Path) -> dict[Stage, Settings]:
    """Returns what a configuration of `lorapar run` says of partition and training.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: It is not a configuration; every problem in one message.
    """
    problems: list[str] = []
    sections: dict[Stage, Settings] = {}
    for key, value in _read_mapping(path).items():
        dashed = str(key).replace("_", "-")
        if dashed in OPTIONS and dashed != Stage.SCORE and value is not None:
            sections[Stage(dashed)] = read_settings(dashed, OPTIONS[Stage(dashed)], value, problems)
    if problems:
        raise UsageError(f"settings of `{path}` cannot be used", "\n".join(problems))
    return sections


def _read_mapping(path: Path) -> dict[Any, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"`{path}` is not a mapping of names to settings")
    return content


_EXAMPLE = "a cell looks like `half: {partition: {theta: 0.5}}`"


def _read_cell(name: str, stated: Any, problems: list[str]) -> Cell:
    """Returns a cell of a YAML file, with what is wrong added to `problems`."""
    if not name.strip() or len(name) > 40 or not name.isprintable():
        problems.append(f"{name!r} is not a name of at most 40 characters")
    stated = {} if stated is None else stated
    if not isinstance(stated, dict):
        problems.append(f"`{name}` is not a mapping")
        return Cell(name)
    trains: Trains = "selected"
    rank = None
    changes: dict[Stage, Settings] = {}
    for key, value in stated.items():
        dashed = str(key).replace("_", "-")
        if dashed in OPTIONS:
            kind = OPTIONS[Stage(dashed)]
            changes[Stage(dashed)] = read_settings(f"{name}.{dashed}", kind, value, problems)
        elif dashed == "trains" and value in ("selected", "all"):
            trains = value
        elif dashed == "rank" and isinstance(value, int) and not isinstance(value, bool):
            trains, rank = "rank", value
            if not 1 <= value <= LARGEST_RANK:
                problems.append(f"`{name}.rank` is {value}, not from 1 to {LARGEST_RANK:,}")
        elif dashed in ("trains", "rank"):
            wanted = "`selected` or `all`" if dashed == "trains" else "a whole number"
            problems.append(f"`{name}.{key}` is {value!r}, not {wanted}")
        else:
            known = ["trains", "rank", *OPTIONS]
            problems.append(f"`{name}.{key}` is unknown{nearest(dashed, known)}")
    if {"trains", "rank"} <= stated.keys():
        problems.append(f"`{name}` has both `trains` and `rank`")
    return Cell(name, trains, rank, changes)


# What decides where a stage reads and writes belongs to the comparison.
_NOT_OF_CELLS = {
    *("model", "splits", "importance", "mask", "from_", "adapter", "out", "overwrite", "dry_run"),
    *("seed", "template", "trust_remote_code", "report_to", "show_tokens", "plot", "quantize"),
    *("find_lr", "find_lr_steps"),
}


def read_settings(
    place: str,
    kind: type[Options],
    value: Any,
    problems: list[str],
    excluded: Collection[str] = frozenset(_NOT_OF_CELLS),
) -> Settings:
    """Returns one section of a cell as values of a stage's options.

    Args:
        place: Where the section stands, for messages.
        problems: Where a sentence is added for each key or value that cannot be used.
        excluded: Options that a section may not have.
    """
    if not isinstance(value, dict):
        problems.append(f"`{place}` is not a mapping of options to values")
        return {}
    stages_own = {each.name: each for each in options_of(kind)}
    known = {name: each for name, each in stages_own.items() if name not in excluded}
    settings: dict[str, Any] = {}
    for key, stated in value.items():
        name = str(key).replace("-", "_")
        if name not in known:
            problems.append(
                f"`{place}.{key}` cannot be set here: the command decides it"
                if name in excluded and name in stages_own
                else f"`{place}.{key}` is unknown{nearest(name, sorted(known))}"
            )
            continue
        chosen = as_option_value(known[name].kind, stated)
        if (problem := find_problem(known[name], chosen)) is not None:
            problems.append(f"`{place}`: {problem}")
        settings[name] = chosen
    return settings


def as_option_value(kind: type, value: Any) -> Any:
    """Returns a value of YAML or JSON as the option's type: lists as tuples, `1e-4` as a number.

    A mapping becomes the `KEY=VALUE` pairs of a repeatable option.
    """
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is tuple and isinstance(value, dict):
        return tuple(f"{key}={json.dumps(each, default=str)}" for key, each in value.items())
    if kind is tuple and isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads `1e-4` as text.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def canonical(value: Any) -> str:
    """Returns a value as JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))
