"""`score`: creates the adapter and computes the importance of its elements for both systems."""

from collections.abc import Sequence
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Progress, silent
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments, read_template
from lorapar_cli.models.weights_digest import local_revision
from lorapar_cli.names import EMBEDDED, Stage, System, split_file
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.reuse import describe_inputs, reuse
from lorapar_cli.store.run_dir import MORE_LABELS, RunDir
from lorapar_cli.store.working import reuse_or_make


def score(
    run_dir: RunDir,
    options: ScoreOptions,
    *,
    given: Sequence[str] = (),
    progress: Progress = silent,
    save_seconds: float = 60,
) -> Outcome:
    """Writes `importance.safetensors` and the adapter that was scored.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.
        save_seconds: Time between two copies of the sums, from which an interrupted run resumes.

    Raises:
        UsageError: No base model is known, or init and formula make all importance zero.
        LoraparError: A split is missing or empty, or every importance is zero.

    Source: LoRA-PAR Sec. 3, importance of LoRA elements.
    """
    name = _name_model(run_dir, options.model)
    folder = options.splits or run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    paths = {system: folder / split_file(system) for system in System}
    inputs = describe_inputs({system.value: path for system, path in paths.items()})
    target = run_dir.target(Stage.SCORE, options.out)
    settings = options.settings(
        model=name,
        target_modules=sorted(options.target_modules),
        template=read_template(options.template),
        template_arg=ChatTemplate(None, read_arguments(options.template_arg)).given,
    )

    def find() -> Outcome | None:
        done = reuse(target, settings, inputs, kind=ScoreOptions)
        return done if done is not None and _has_weights(name, done.manifest) else None

    def make() -> Outcome:
        require_libraries(MODELS, "`lorapar score`")
        records = {system: _read(path) for system, path in paths.items()}
        manifest = Manifest(Stage.SCORE, settings, list(given), inputs, seed=options.seed)
        # It imports torch, which a result that is up to date does not need.
        from lorapar_cli.scoring.score_run import run_score

        run_score(target, options, records, manifest, save_seconds=save_seconds, progress=progress)
        return Outcome(target, manifest)

    return reuse_or_make(target, find, make)


def _name_model(run_dir: RunDir, given: str | None) -> str:
    """Returns the base model's name; folders as absolute paths.

    Raises:
        UsageError: Neither the user nor the run directory names one.
    """
    name = given or run_dir.base_model()
    if name is None:
        classified = run_dir.folder(Stage.CLASSIFY)
        unfinished = f", `{classified}` is unfinished" if classified.exists() else ""
        raise UsageError(
            "no base model",
            f"neither `--model` nor run directory `{run_dir.root}` names one{unfinished}",
            "name the student with `--model`: a folder, a hub id, or `embedded`",
        )
    if name != EMBEDDED and Path(name).is_dir():
        return str(Path(name).resolve())
    return name


def _has_weights(name: str, manifest: Manifest) -> bool:
    """Returns whether a folder still holds the weights that a result was made with."""
    revision = local_revision(name)
    known = manifest.base_model
    return revision is None or (known is not None and known["revision"] == revision)


def _read(path: Path) -> list[Record]:
    records = read_records(path)
    if not records:
        raise LoraparError(
            f"`{path}` has no records",
            hint=f"both systems need some: {MORE_LABELS}",
        )
    return records
