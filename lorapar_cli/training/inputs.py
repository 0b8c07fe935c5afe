"""Which records a training stage trains on: its own system's, replayed ones, or a file's."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage, System
from lorapar_cli.store.manifest import Manifest, describe_inputs, is_up_to_date
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.run_dir import ADAPTERS, RunDir
from lorapar_cli.training.options import RlOptions, SftOptions, deciding
from lorapar_cli.training.replay import mix_replay, replay_count


@dataclass(frozen=True)
class TrainingInputs:
    """What a training stage reads, and what decides whether it has to.

    Attributes:
        files: Name -> file of records, the stage's own first.
        adapter: Folder of the adapter that goes on training.
        mask: Mask file; None trains every element.
        base_id: Base model; `revision` is the one that the run knows, None where unknown.
        settings: What the manifest holds of the options.
        described: The manifest's `inputs`.
    """

    files: dict[str, Path]
    adapter: Path
    mask: Path | None
    base_id: str
    revision: str | None
    settings: dict[str, Any]
    described: dict[str, dict[str, str]]

    @property
    def template(self) -> str | None:
        """The chat template that the user or the run names; None: the model's own."""
        return self.settings["template"]

    def new_manifest(self, stage: Stage, given: list[str] | None, seed: int) -> Manifest:
        """Returns the record of a run that starts from this."""
        return Manifest(stage, self.settings, given or [], self.described, seed=seed)

    def up_to_date(self, folder: Path) -> bool:
        """Returns whether `folder` holds the result of this, whatever was written beside it."""
        return is_up_to_date(folder, self.settings, self.described, deciding)


def find_training_inputs(
    run_dir: RunDir,
    options: SftOptions | RlOptions,
    start: str,
    *,
    splits: Path | None,
    mask: str | None,
    adapter: Path | None,
    model: str | None,
) -> TrainingInputs:
    """Returns what a training stage reads, from its options and the run directory.

    Args:
        start: `init`, `sft` or `rl`: whose adapter goes on training, unless `adapter` names one.
        splits, mask, adapter, model: None for the run's own.

    Raises:
        LoraparError: Something is missing, unfinished or stale.
        UsageError: No base model is known, or replay was asked for where it cannot be.
    """
    splits, mask_path, adapter = run_dir.training_inputs(
        ADAPTERS[start], splits, mask, adapter, options.data
    )
    files = training_files(splits, options.data, options.replay)
    base_id, revision = run_dir.base_of_adapter(model)
    described = describe_inputs(
        files
        | {"adapter": adapter / "adapter_model.safetensors"}
        | ({"mask": mask_path} if mask_path else {})
    )
    template = run_dir.template(ADAPTERS[start]) if options.template is None else options.template
    settings = asdict(options) | {"model": base_id, "template": template}
    return TrainingInputs(files, adapter, mask_path, base_id, revision, settings, described)


_OTHER = {System.SYSTEM1: System.SYSTEM2, System.SYSTEM2: System.SYSTEM1}
ALL = "all"


def training_files(splits: Path, data: str, replay: float) -> dict[str, Path]:
    """Returns name -> file of what `--data` and `--replay` make a stage read, its own first.

    Args:
        splits: Folder with system1.jsonl and system2.jsonl.
        data: `system1`, `system2`, `all`, or a file in any format that `classify` reads.
        replay: Share of the other system's records; 0 for none.

    Raises:
        UsageError: Replay was asked for where there is no other system.
    """
    if data == ALL:
        files = {system.value: splits / f"{system}.jsonl" for system in System}
    elif data in tuple(System):
        files = {data: splits / f"{data}.jsonl"}
    else:
        files = {"data": Path(data)}
    if replay:
        if data not in tuple(System):
            raise UsageError(
                "`--replay` takes records of the other system, and there is none here",
                f"`--data` is {data}",
                "leave `--replay` out, or train on `system1` or `system2`",
            )
        other = _OTHER[System(data)]
        files[other.value] = splits / f"{other}.jsonl"
    return files


def read_training_records(
    files: dict[str, Path],
    replay: float,
    seed: int,
    notes: list[str],
    keep: Callable[[list[Record], Path], list[Record]] = lambda records, _: records,
) -> list[Record]:
    """Returns the records to train on, replayed ones behind the stage's own.

    Args:
        files: What `training_files` returned.
        notes: Where a sentence is added if there are too few records to replay.
        keep: Leaves out of a file's records those that the stage cannot use.

    Raises:
        LoraparError: A file holds nothing to train on.
    """
    parts = []
    for name, path in files.items():
        read = _read_data(path) if name == "data" else read_records(path)
        if not read:
            raise LoraparError(
                "there is nothing to train on",
                f"`{path}` is empty",
                "label more data, or ask other teachers, with `lorapar classify`",
            )
        parts.append(keep(read, path))
    if not replay:
        return [record for part in parts for record in part]
    own, other = parts
    mixed = mix_replay(own, other, replay, seed)
    replayed = len(mixed) - len(own)
    if replayed < replay_count(len(own), replay):
        notes.append(
            f"`--replay {replay}` asks for {replay_count(len(own), replay)} records of the other "
            f"system, there are {len(other)}: their share is {replayed / len(mixed):.1%}"
        )
    return mixed


def _read_data(path: Path) -> list[Record]:
    """Returns the records of a user's file."""
    try:
        return list(open_source(str(path)).records())
    except LoraparError as error:
        # The reader's hints name options that only `classify` has.
        raise LoraparError(
            error.what,
            error.found,
            "mend it, or let `lorapar classify` read it, which has options for that, and give its "
            "`labels.jsonl`",
        ) from error
