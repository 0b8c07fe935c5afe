"""What a comparison is about: the run, its settings, and what cells and trainings are named by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from lorapar_cli import __version__
from lorapar_cli.comparison.cells import (
    MOVEMENT,
    OPTIONS,
    Cell,
    as_option_value,
    choose_cells,
    read_sections,
)
from lorapar_cli.comparison.naming import Depends, find_folder, is_file
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.planning.budget import read_time
from lorapar_cli.comparison.records import ComparedRecords, prepare_records
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.measuring.forgetting import NEUTRAL_TEXT
from lorapar_cli.models.measuring.validation import common_prompts
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Stage, System
from lorapar_cli.options import Options, fill_defaults, options_of
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.manifest import sha256_file
from lorapar_cli.store.records import read_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import ALL, read_data
from lorapar_cli.training.options import RlOptions, SftOptions, TrainingOptions, deciding
from lorapar_cli.training.recipes.options import OTHER, SELF
from lorapar_cli.training.watching.options import WatchOptions

Chosen = TypeVar("Chosen", bound=Options)
# What a manifest records as resolved, or what the comparison decides itself.
_OWN = {"model", "template", "seed", "report_to", "find_lr", "find_lr_steps"} | {
    e.name for e in options_of(WatchOptions)
}

# Options of the comparison that its measurements depend on.
_MEASURING = ("match", "max_new_tokens", "batch_size", "search_share", "seed")
# Fewer have no variance.
_FEWEST_MEASURED = 2
# Of what a cell depends on, the parts that are settings of a stage.
_PARTS: dict[str, type[Options]] = {
    "score": ScoreOptions,
    "partition": PartitionOptions,
    "size of paper": PartitionOptions,
}


@dataclass(frozen=True)
class Grid:
    """A comparison on a run directory.

    Attributes:
        root: Folder of everything that the comparison writes.
        cells: By priority.
        settings: Stage -> options that the run's stages have, or a configuration.
        identity: What every measurement depends on besides its cell.
    """

    run_dir: RunDir
    root: Path
    options: CompareOptions
    cells: list[Cell]
    settings: Mapping[Stage, Options]
    records: ComparedRecords
    identity: dict[str, Any]

    @property
    def stages(self) -> list[Stage]:
        """The training stages that are compared, in order."""
        return {
            "sft": [Stage.TRAIN_SFT],
            "rl": [Stage.TRAIN_RL],
            "both": [Stage.TRAIN_SFT, Stage.TRAIN_RL],
        }[self.options.stage]

    @property
    def search_seed(self) -> int:
        """Seed of the trainings that rates are chosen by; none of these is reported."""
        return self.options.seed

    def seeds(self, count: int) -> list[int]:
        """Returns the seeds of the first `count` measured trainings."""
        return [self.options.seed + number for number in range(1, count + 1)]

    def cell(self, name: str) -> Cell:
        """Returns the cell of that name."""
        return next(cell for cell in self.cells if cell.name == name)

    @property
    def neutral(self) -> Path:
        """The text on which forgetting is measured."""
        return self.options.neutral or NEUTRAL_TEXT

    def score_options(self, cell: Cell) -> ScoreOptions:
        """Returns how the elements of a cell are scored."""
        return self._changed(cell, Stage.SCORE, ScoreOptions)

    def partition_options(self, cell: Cell) -> PartitionOptions:
        """Returns how the elements of a cell are selected."""
        if not cell.size_of_paper:
            return self._changed(cell, Stage.PARTITION, PartitionOptions)
        # The sizes of `paper` take the place of whatever decides them there.
        free = {"budget": None, "theta_s1": None, "theta_s2": None}
        changes = {**free, **cell.settings(Stage.PARTITION)}
        return self._changed(
            replace(cell, changes={Stage.PARTITION: changes}), Stage.PARTITION, PartitionOptions
        )

    def training_options(self, cell: Cell, stage: Stage) -> TrainingOptions:
        """Returns what a stage of a cell is trained with, at the rate that the search starts from."""
        kind = SftOptions if stage is Stage.TRAIN_SFT else RlOptions
        return self._changed(cell, stage, kind)

    def _changed(self, cell: Cell, stage: Stage, kind: type[Chosen]) -> Chosen:
        return cast(Chosen, replace(self.settings[stage], **cell.settings(stage)))

    def depends(self, **parts: Any) -> dict[str, Any]:
        """Returns what an artifact depends on that depends on `parts` and on the comparison."""
        return self.identity | parts

    def named_folder(self, kind: str, depends: Depends) -> Path:
        """Returns the folder of an artifact, among those of its kind."""
        return find_folder(self.root / kind, depends, _filled)


def _filled(recorded: dict[str, Any]) -> dict[str, Any]:
    """Returns what an artifact of any version depends on, as this version would record it.

    Stages take results of another version for theirs; so does a comparison.
    """
    found = {key: value for key, value in recorded.items() if key != "lorapar"}
    return _filled_stage(fill_defaults(found, CompareOptions, _MEASURING))


def _filled_stage(recorded: dict[str, Any]) -> dict[str, Any]:
    found = dict(recorded)
    for part, kind in _PARTS.items():
        if isinstance(found.get(part), dict):
            found[part] = fill_defaults(found[part], kind)
    if "training" in found:
        kind = OPTIONS[Stage(found["stage"])]
        found["training"] = training_settings(fill_defaults(found["training"], kind))
    if "sft" in found:
        found["sft"] = _filled_stage(found["sft"])
    return found


def training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a stage that all trainings of a cell have, and depend on."""
    found = deciding(settings)
    return {key: value for key, value in found.items() if key not in ("learning_rate", "seed")}


def open_grid(run_dir: RunDir, options: CompareOptions) -> Grid:
    """Returns the comparison of these options; divides the run's records.

    Raises:
        LoraparError: The run is not scored, or its records cannot be divided.
        UsageError: A cell or a setting is unknown or out of range.
    """
    if options.budget is not None:
        read_time(options.budget)
    cells = [_without_rl(cell, options.stage) for cell in choose_cells(options.cells)]
    if len(cells) < 2:
        raise UsageError("a comparison needs two cells or more", f"`--cells` names {len(cells)}")
    scored = run_dir.require(Stage.SCORE, "scored adapter", "--run-dir")
    run_dir.require_current(Stage.SCORE)
    settings = _settings(run_dir, options.config)
    root = run_dir.folder("compare")
    records = prepare_records(run_dir, root, options.data, options.validation, options.seed)
    base_id, revision = run_dir.base_of_adapter(None)
    identity = {
        "lorapar": __version__,
        "base": [base_id, revision],
        "adapter": sha256_file(scored / Artifact.ADAPTER / ADAPTER_WEIGHTS),
        "template": [run_dir.template(Stage.SCORE), run_dir.template_arguments(Stage.SCORE)],
        "records": records.digest,
        "neutral": sha256_file(options.neutral or NEUTRAL_TEXT),
        **{name: getattr(options, name) for name in _MEASURING},
    }
    grid = Grid(run_dir, root, options, cells, settings, records, identity)
    for cell in cells:
        for stage in grid.stages:
            trained = grid.training_options(cell, stage)
            _require_split(cell, stage, trained)
            _require_measured(records, trained)
            _require_files_apart(cell, stage, trained, records)
            if stage is Stage.TRAIN_RL and options.max_rates > 1:
                _require_judged(records, trained, options.match)
    if options.stage == "rl":
        run_dir.require(Stage.TRAIN_SFT, "adapter to start `train-rl` from", "--stage both")
        run_dir.require_current(Stage.TRAIN_SFT)
    return grid


def _without_rl(cell: Cell, stage: str) -> Cell:
    """Returns the cell; where only SFT is compared, no GRPO moves System 2's elements for it."""
    if cell.name != MOVEMENT or stage != "sft":
        return cell
    scoring = {**cell.settings(Stage.SCORE), "movement_s2": "sft"}
    return replace(cell, changes={**cell.changes, Stage.SCORE: scoring})


def _require_split(cell: Cell, stage: Stage, options: TrainingOptions) -> None:
    """Refuses data whose validation part would be trained on."""
    if options.data not in (*System, ALL):
        raise LoraparError(
            "a comparison trains on the run's own splits",
            f"`{stage}` of cell `{cell.name}` trains on `{options.data}`",
            "give `data: system1`, `system2` or `all` in a file for `--config`",
        )


def _require_judged(records: ComparedRecords, options: TrainingOptions, match: str) -> None:
    """Refuses a search for the rate whose trainings no answer could tell apart."""
    systems = (*System,) if options.data == ALL else (System(str(options.data)),)
    validation = [r for r in read_records(records.validation) if r.label in systems]
    if not any(record.accepted_by(match) for record in validation):
        raise LoraparError(
            "the learning rate of `train-rl` cannot be searched",
            f"{counted(len(validation), 'validation record')} of {' and '.join(systems)}, none with a "
            "reference answer",
            "raise `--validation`, label more records that have one, or give `--max-rates 1`",
        )


def _require_files_apart(
    cell: Cell, stage: Stage, options: TrainingOptions, records: ComparedRecords
) -> None:
    """Refuses files of a cell's own with records that it is measured on or, in replay, judged by."""
    if not (files := own_files(options)):
        return
    held_out, validation = read_records(records.held_out), read_records(records.validation)
    others = {"replayed": held_out + validation, "validated": held_out}
    for what, path in files.items():
        if not path.is_file():
            raise LoraparError(
                f"no such file: `{path}`", f"`{stage}` of cell `{cell.name}` needs it"
            )
        if both := common_prompts(read_data(path), others[what]):
            raise LoraparError(
                f"{counted(len(both), f'{what} record')} of `{stage}` in cell `{cell.name}` "
                f"{inflected(len(both), 'is', 'are')} measured on",
                f"`{both[0].id}` of `{path}`, by its prompt",
                "give others: none that is held out or, for replay, in the validation part",
            )


def own_files(options: TrainingOptions) -> dict[str, Path]:
    """Returns `replayed` and `validated` -> file of records, where a stage has one of its own."""
    found = {}
    if options.replay and options.replay_source not in (OTHER, SELF):
        found["replayed"] = Path(options.replay_source)
    # A data set of the hub is no file to compare.
    named = options.validation_file if options.eval_steps is not None else None
    if named is not None and is_file(named):
        found["validated"] = Path(named)
    return found


def _require_measured(records: ComparedRecords, options: TrainingOptions) -> None:
    """Refuses what nothing could be said of when it is trained."""
    for system in System if options.data == ALL else (System(str(options.data)),):
        if (count := records.measured.get(system, 0)) < _FEWEST_MEASURED:
            raise LoraparError(
                f"there are too few records of {system} to measure on",
                f"`{records.source}` has {count}, a difference needs {_FEWEST_MEASURED}",
                "name more with `--data`, or run `lorapar classify` with a larger `--holdout`",
            )


def _settings(run_dir: RunDir, config: Path | None) -> dict[Stage, Options]:
    """Returns each stage's options: the run's, else the defaults, changed by a configuration."""
    sections = {} if config is None else read_sections(config)
    settings: dict[Stage, Options] = {}
    for stage, kind in OPTIONS.items():
        manifest = run_dir.manifest(stage)
        recorded = {} if manifest is None else dict(manifest.settings)
        if stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
            _require_same_template(run_dir, stage, recorded.get("template"))
        known = {each.name: each.kind for each in options_of(kind) if each.name not in _OWN}
        own = {
            name: as_option_value(known[name], value)
            for name, value in recorded.items()
            if name in known
        }
        if "learning_rate" in own and manifest is not None:
            # Of a run that searched for it, settings hold where the search began.
            own["learning_rate"] = manifest.metrics.get("learning_rate", own["learning_rate"])
        if stage is Stage.SCORE and manifest is not None:
            own["seed"] = manifest.settings["seed"]
        if stage is Stage.PARTITION:
            own |= {"select": "importance", "plot": False}
        settings[stage] = kind(**(own | dict(sections.get(stage, {}))))
    return settings


def _require_same_template(run_dir: RunDir, stage: Stage, template: str | None) -> None:
    """Refuses a training stage that rendered prompts otherwise than `score`."""
    if run_dir.manifest(stage) is not None and template != run_dir.template(Stage.SCORE):
        raise LoraparError(
            f"`{stage}` of this run used another chat template than `score`",
            hint="a comparison uses one template; score again with that of the training stage",
        )
