"""A run directory's finished stages and evaluations."""

from dataclasses import dataclass

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.options import Options, fill_defaults
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.run_status import logged_to
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.recipes.options import OTHER, SELF

TRAINING = (Stage.TRAIN_SFT, Stage.TRAIN_RL)
STAGE_OPTIONS: dict[Stage, type[Options]] = {
    Stage.CLASSIFY: ClassifyOptions,
    Stage.SCORE: ScoreOptions,
    Stage.PARTITION: PartitionOptions,
    Stage.TRAIN_SFT: SftOptions,
    Stage.TRAIN_RL: RlOptions,
    Stage.EVAL: EvalOptions,
}


@dataclass(frozen=True)
class RunResults:
    """A run directory's finished stages and evaluations, by name."""

    directory: RunDir
    stages: dict[Stage, Manifest]
    evaluations: dict[str, Manifest]

    @property
    def base(self) -> str:
        """Id of the base model, empty where no stage has used one."""
        known = [*self.stages.values(), *self.evaluations.values()]
        return next((each.base_model["id"] for each in known if each.base_model), "")


def read_run(run_dir: RunDir) -> RunResults:
    """Returns what has finished in a run directory.

    Settings of a result that is older than an option are filled with the option's default.

    Raises:
        LoraparError: Nothing has finished.
    """
    stages: dict[Stage, Manifest] = {
        stage: manifest
        for stage in Stage
        if stage is not Stage.EVAL and (manifest := run_dir.manifest(stage)) is not None
    }
    evaluations = {}
    if (folder := run_dir.folder(Stage.EVAL)).is_dir():
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        found = {name: run_dir.manifest(f"{Stage.EVAL}/{name}") for name in names}
        evaluations = {name: manifest for name, manifest in found.items() if manifest is not None}
    if not stages and not evaluations:
        hint = "name another one with `--run-dir`, or start with `lorapar classify`"
        if exists(run_dir.root / Artifact.RESULTS):
            hint = "it is no run: `lorapar inspect` says what it is; tables of `sweep` are in `sweep.md`"
        raise LoraparError(f"no stage has finished in run directory `{run_dir.root}`", hint=hint)
    for manifest in [*stages.values(), *evaluations.values()]:
        kind = STAGE_OPTIONS[Stage(manifest.stage)]
        manifest.settings = fill_defaults(manifest.settings, kind)
    return RunResults(run_dir, stages, evaluations)


def unfinished_trainings(run: RunResults) -> list[Stage]:
    """Returns the training stages that have logged steps and are not finished."""
    return [
        stage
        for stage in TRAINING
        if stage not in run.stages and logged_to(run.directory.folder(stage)) is not None
    ]


def selection_in_words(manifest: Manifest) -> str:
    """Returns how a partition selected its elements."""
    settings = fill_defaults(manifest.settings, PartitionOptions)
    thetas = [settings[f"theta_s{n}"] or settings["theta"] for n in (1, 2)]
    if (found := manifest.record(PartitionRecord).metrics.get("theta_of_budget")) is not None:
        thetas = [found, found]
    budgets = [settings[f"budget_s{n}"] for n in (1, 2)]
    sizes = [
        f"theta {theta:g}" if budget is None else f"budget {budget}"
        for theta, budget in zip(thetas, budgets, strict=True)
    ]
    scopes = [settings["scope"], settings["scope_s2"] or settings["scope"]]
    parts = [
        settings["select"],
        _join(sizes),
        f"alpha {settings['alpha']:g}",
        f"beta {settings['beta']:g}",
        "" if scopes == ["global"] * 2 else f"one cut per {_scopes_in_words(scopes)}",
        f"{settings['only']} only" if settings["only"] else "",
        f"protect {settings['protect']:g}" if settings["protect"] else "",
    ]
    return ", ".join(filter(None, parts))


def _join(sizes: list[str]) -> str:
    """Returns both systems' sizes; a word that they share once."""
    first, second = sizes
    if first == second:
        return first
    word = first.partition(" ")[0]
    return f"{first} and {second.removeprefix(f'{word} ')}"


def _scopes_in_words(scopes: list[str]) -> str:
    if scopes[0] == scopes[1]:
        return scopes[0]
    return f"module for System {scopes.index('module') + 1}"


def share_active(manifest: Manifest | None) -> str:
    """Returns the share of elements that were active in a training; empty without a training."""
    if manifest is None:
        return ""
    counts = manifest.record(TrainingRecord).counts
    return f"{100 * counts['active'] / counts['elements']:.1f} %"


def replay_in_words(manifest: Manifest) -> str:
    """Returns how many of the records that a training stage trained on were replayed, and whose."""
    settings, counts = manifest.settings, manifest.record(TrainingRecord).counts
    if not settings.get("replay"):
        return "none"
    source = settings.get("replay_source", OTHER)
    words = {OTHER: "of the other system", SELF: "answers of the base model's own"}
    whose = words.get(source, f"of {source}")
    if "replayed_records" not in counts:
        return f"{settings['replay']:.0%} {whose}"  # Of an earlier version, which did not count.
    number = counts["replayed_records"]
    return f"{number:,} ({number / counts['trained_records']:.0%}) {whose}"
