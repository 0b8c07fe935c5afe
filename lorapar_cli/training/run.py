"""What both training stages share: from a prepared job to a published adapter."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from lorapar_cli.errors import Diverged, LearntNothing, LoraparError
from lorapar_cli.events import Progress, silent
from lorapar_cli.models.base_model import BaseModel, find_base_model
from lorapar_cli.models.distributed import join_processes
from lorapar_cli.models.placement.engines import Engine, requested_engine
from lorapar_cli.names import Flag
from lorapar_cli.stage_records.training import (
    DryRunFigures,
    DryRunRecord,
    MaskedElements,
    MovedElements,
    TrainingRecord,
)
from lorapar_cli.store.checkpoints import last_checkpoint
from lorapar_cli.store.manifest import Outcome, read_manifest
from lorapar_cli.store.resumable_folder import (
    finish_working_folder,
    note_end,
    open_working_folder,
    run_digest,
)
from lorapar_cli.store.tensor_files import layout_fingerprint
from lorapar_cli.store.working import working_in
from lorapar_cli.training.dry_run import DryRun, FirstStep
from lorapar_cli.training.inputs import TrainingInputs
from lorapar_cli.training.jobs import (
    Figures,
    Launch,
    Preparation,
    Trained,
    TrainingJob,
    TrainingRun,
    load_run,
)
from lorapar_cli.training.masking.engines import require_same_engine
from lorapar_cli.training.masking.masked_adapter import (
    MaskedAdapter,
    read_masked_adapter,
    save_masked,
    verify_trained,
    whole_adapter,
)
from lorapar_cli.training.masking.optimizers import optimizer_notes
from lorapar_cli.training.memory import bytes_of_passes
from lorapar_cli.training.options import TrainingOptions, deciding


def read_starting_adapter(
    source: TrainingInputs, flag: Flag, trust: bool
) -> tuple[BaseModel, MaskedAdapter]:
    """Returns base model and adapter, checked to belong together; loads no model.

    Raises:
        LoraparError: Mask and adapter differ in layout, nothing is active, the base model changed
            or is of a family that TRL's trainers do not train, or the launcher requested an engine
            that cannot keep elements frozen.
    """
    requested_engine()
    start = read_masked_adapter(source.adapter, source.mask, flag)
    base = find_base_model(source.base_id, trust)
    if base.encoder_decoder:
        raise LoraparError(
            f"`{source.base_id}` is an encoder-decoder model, which TRL's trainers cannot train",
            hint="such models can be scored and partitioned; train a decoder-only one",
        )
    if source.revision is not None and base.revision != source.revision:
        raise LoraparError(
            f"base model `{source.base_id}` is not the one that the adapter was made for",
            f"revision was {source.revision}, is {base.revision}",
            "run `lorapar score` again with this base model",
        )
    return base, start


def run_training(
    job: TrainingJob,
    fit: Callable[[TrainingRun], Figures],
    to_record: Callable[[Trained[Figures]], TrainingRecord],
    progress: Progress,
    prepare: Callable[[Preparation], None] = lambda _: None,
) -> Outcome:
    """Fits the job's adapter, resuming an unfinished run, verifies the result and publishes it.

    A dry run ends before the first step: nothing is written, and the manifest is not finished.

    Args:
        fit: Builds the trainer, runs it by `TrainingRun.run_trainer`, returns its figures.
        to_record: Returns the stage's record of a finished run.
        prepare: Called before the model is loaded, in the run's folder; not in a dry run.

    Raises:
        LoraparError: The launch cannot train this job, the folder holds another result, or
            training went wrong.
    """
    manifest, options = job.manifest, job.options
    engine = _find_engine(options)
    processes = join_processes()
    launch = Launch(engine, processes)
    elements: MaskedElements = {
        "elements": job.start.element_count,
        "active": job.start.active_count,
    }
    manifest.base_model = job.base.to_manifest()
    manifest.layout_fingerprint = layout_fingerprint(job.start.shapes)
    manifest.notes += optimizer_notes(options, engine)
    if options.dry_run:
        figures = _run_dry(job, launch, fit, progress)
        manifest.keep(DryRunRecord({**job.counts, **elements}, {**launch.metrics(), **figures}))
        return Outcome(job.folder, manifest)
    with working_in(job.folder):
        # Another command may have finished the same run while this one loaded its records.
        if processes.on_main(job.is_done):
            return _read_outcome(job.folder, fresh=False)
        work, checkpoint = _open_work(job, launch)
        prepare(Preparation(job, launch, work, progress if processes.rank == 0 else silent))
        run = load_run(job, launch, work, checkpoint, None, progress)
        fitted = _fit(run, fit, work)
        values = whole_adapter(run.masked)
        active_moved, frozen_moved = verify_trained(job.start, values)
        moved: MovedElements = {
            **elements,
            "active_moved": active_moved,
            "frozen_moved": frozen_moved,
        }
        manifest.keep(to_record(Trained(moved, launch.metrics(), fitted, run.watched)))
        if run.main:
            save_masked(run.masked, values, work)
            finish_working_folder(work, job.folder, manifest)
        processes.wait()
        return _read_outcome(job.folder, fresh=True)


def _fit(run: TrainingRun, fit: Callable[[TrainingRun], Figures], work: Path) -> Figures:
    try:
        return fit(run)
    except (Diverged, LearntNothing) as error:
        if run.main:
            note_end(work, error)
        raise


def _find_engine(options: TrainingOptions) -> Engine:
    """Returns the engine that the launcher requested, which must be able to train the base model."""
    engine = requested_engine()
    if engine.sharded and options.quantize is not None:
        raise LoraparError(
            f"a quantized base model cannot be trained under {engine}",
            f"`--quantize {options.quantize}`",
            "omit `--quantize`, or launch plain data parallel with `torchrun`",
        )
    return engine


def _run_dry(
    job: TrainingJob,
    launch: Launch,
    fit: Callable[[TrainingRun], Figures],
    progress: Progress,
) -> DryRunFigures:
    """Returns the figures of a run that ends before its first step and leaves nothing behind."""
    dry = DryRun()
    # Trainers create their output folder even then.
    with TemporaryDirectory() as work:
        try:
            fit(load_run(job, launch, Path(work), None, dry, progress))
        except FirstStep as reached:
            figures = reached.figures
            return {**figures, "bytes": figures["bytes"] | bytes_of_passes(job)}
    raise AssertionError("a dry run went on to train")


def _open_work(job: TrainingJob, launch: Launch) -> tuple[Path, Path | None]:
    """Returns the working folder and the checkpoint to resume from; notes what is to be said of it."""
    manifest, kind = job.manifest, type(job.options)

    def find() -> tuple[Path, Path | None, list[str]]:
        work = open_working_folder(job.folder, manifest, job.options.overwrite, deciding, kind)
        return work, *last_checkpoint(work, run_digest(work, manifest, deciding, kind))

    work, checkpoint, damaged = launch.processes.on_main(find)
    manifest.notes += damaged
    if damaged and checkpoint is None:
        manifest.notes.append("no other checkpoint is left: training started over")
    if checkpoint is not None:
        require_same_engine(checkpoint, launch.engine, launch.processes.count)
        manifest.notes.append(f"resumed an unfinished run from {checkpoint.name}")
    return work, checkpoint


def _read_outcome(folder: Path, fresh: bool) -> Outcome:
    finished = read_manifest(folder)
    if finished is None:
        raise AssertionError(f"`{folder}` has no manifest after training")
    return Outcome(folder, finished, fresh)
