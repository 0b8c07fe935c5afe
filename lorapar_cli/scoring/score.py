"""`score`: creates the adapter and computes the importance of its elements for both systems."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Progress, silent
from lorapar_cli.models.weights_digest import local_revision
from lorapar_cli.names import EMBEDDED, Stage, System
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score_run import ScoreRun
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.run_dir import RunDir


def score(
    run_dir: RunDir,
    options: ScoreOptions,
    *,
    model: str | None = None,
    splits: Path | None = None,
    out: Path | None = None,
    trust_remote_code: bool = False,
    save_seconds: float = 60,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `importance.safetensors` and the adapter that was scored.

    Args:
        model: Base model; None for the one that the run directory remembers.
        splits: Folder with system1.jsonl and system2.jsonl; None for the run's own.
        out: Stage folder; None for the run's own.
        save_seconds: Time between two copies of the sums, from which an interrupted run goes on.

    Raises:
        UsageError: No base model is known, or init and formula make all importance zero.
        LoraparError: A split is missing or empty, or every importance is zero.

    Source: LoRA-PAR Sec. 3, importance of LoRA elements.
    """
    name = model or run_dir.base_model()
    if name is None:
        raise UsageError(
            "no base model",
            f"neither `--model` nor run directory `{run_dir.root}` names one",
            "name the student with `--model`: a folder, a hub id, or `embedded`",
        )
    if name != EMBEDDED and Path(name).is_dir():
        name = str(Path(name).resolve())
    folder = splits or run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    paths = {system.value: folder / f"{system}.jsonl" for system in System}
    inputs = describe_inputs(paths)
    target = run_dir.target(Stage.SCORE, out)
    options = replace(options, target_modules=tuple(sorted(options.target_modules)))
    settings = {"model": name} | asdict(options)
    if is_up_to_date(target, settings, inputs):
        finished = read_manifest(target)
        # The weights of a folder may have changed under the same name.
        if local_revision(name) in (None, finished.base_model["revision"]):
            return Outcome(target, finished, fresh=False)
    records = {system: _read(paths[system.value]) for system in System}
    manifest = Manifest(Stage.SCORE, settings, given or [], inputs, seed=options.seed)
    work = ScoreRun(target, options, manifest, progress, save_seconds)
    work.find(name, trust_remote_code)
    samples = {system: work.encode(system, records[system]) for system in System}
    work.create(samples)
    tensors: dict[str, Any] = {}
    halves = []
    for system in System:
        importance, half_sets = work.score_system(system, samples[system])
        tensors |= {f"{system}/{key}": values.numpy() for key, values in importance.items()}
        halves.append(half_sets)
    work.describe_noise(halves)
    work.publish(tensors)
    return Outcome(target, manifest)


def _read(path: Path) -> list[Record]:
    records = read_records(path)
    if not records:
        raise LoraparError(
            f"`{path}` has no records",
            hint="both systems need some: look at `lorapar classify`'s label counts",
        )
    return records
