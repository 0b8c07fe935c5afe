"""Which records a training stage trains on: its own system's, replayed ones, or a file's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.measuring.validation import common_prompts
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments, read_template
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, Stage, System, split_file
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.reuse import describe_inputs, reuse
from lorapar_cli.store.run_dir import ADAPTERS, MORE_LABELS, RunDir
from lorapar_cli.training.options import TrainingOptions, deciding
from lorapar_cli.training.recipes.options import OTHER, SELF
from lorapar_cli.training.recipes.replay import draw_replay, replay_count
from lorapar_cli.training.watching.records import Select, validation_inputs

ALL = "all"
DATA, REPLAYED = "data", "replay"
"""Names of files that the user gave, in any format that `classify` reads."""
_NAMED = 5
_OTHER = {System.SYSTEM1: System.SYSTEM2, System.SYSTEM2: System.SYSTEM1}

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrainingRecords:
    """The records of a stage: its own, and those that it replays."""

    own: list[Record]
    replayed: list[Record]

    @property
    def all(self) -> list[Record]:
        """Returns the own records before the replayed ones."""
        return self.own + self.replayed


@dataclass(frozen=True)
class TrainingInputs:
    """What a training stage reads, and what decides whether it has to.

    Attributes:
        folder: Stage folder that the result is published to.
        files: Name -> file of records, the stage's own first.
        adapter: Folder of the adapter that training starts from.
        mask: Mask file; None trains every element.
        base_id: Base model; `revision` is the one that the run knows, None where unknown.
        template: How conversations are rendered, by the user's options or as the run did.
        settings: What the manifest holds of the options.
        kind: Of the options.
        described: The manifest's `inputs`.
        validation: Name -> file that the validation part is taken from besides `files`.
    """

    folder: Path
    files: dict[str, Path]
    adapter: Path
    mask: Path | None
    base_id: str
    revision: str | None
    template: ChatTemplate
    settings: dict[str, Any]
    kind: type[TrainingOptions]
    described: dict[str, dict[str, str]]
    validation: dict[str, Path]

    def new_manifest(self, stage: Stage, given: Sequence[str]) -> Manifest:
        """Returns the manifest of a run that starts from these inputs."""
        return Manifest(
            stage, self.settings, list(given), self.described, seed=self.settings["seed"]
        )

    def find_result(self) -> Outcome | None:
        """Returns the stage's finished result of these inputs, None where there is none."""
        return reuse(self.folder, self.settings, self.described, deciding, self.kind)


def find_training_inputs(
    run_dir: RunDir, options: TrainingOptions, stage: Stage, start: str
) -> TrainingInputs:
    """Returns what a training stage reads, from its options and the run directory.

    Args:
        start: `init`, `sft` or `rl`: the adapter to start from, unless options name another.

    Raises:
        LoraparError: Something is missing, unfinished or stale.
        UsageError: No base model is known, or replay was requested where there is no other system.
    """
    made_by = ADAPTERS[options.from_ or start]
    splits = _find_splits(run_dir, options)
    adapter = _find_adapter(run_dir, options, made_by)
    mask = _find_mask(run_dir, options.mask)
    files = training_files(splits, options.data, options.replay, options.replay_source)
    if REPLAYED in files and not exists(files[REPLAYED]):
        words = f"`{OTHER}`, `{SELF}`" if stage is Stage.TRAIN_SFT else f"`{OTHER}`"
        raise LoraparError(
            f"no such file: `{files[REPLAYED]}`", hint=f"`--replay-source` takes {words} or a file"
        )
    validation = validation_inputs(options, options.data, splits, files)
    base_id, revision = run_dir.base_of_adapter(options.model)
    template = ChatTemplate(
        run_dir.template(made_by) if options.template is None else read_template(options.template),
        read_arguments(options.template_arg or run_dir.template_arguments(made_by)),
    )
    paths = (
        files
        | validation
        | {
            "adapter": adapter / ADAPTER_WEIGHTS,
            "adapter_config": adapter / ADAPTER_CONFIG,
        }
    )
    if mask is not None:
        paths["mask"] = mask
    return TrainingInputs(
        options.out or run_dir.folder(stage),
        files,
        adapter,
        mask,
        base_id,
        revision,
        template,
        options.settings(model=base_id, template=template.text, template_arg=template.given),
        type(options),
        describe_inputs(paths),
        validation,
    )


def _find_splits(run_dir: RunDir, options: TrainingOptions) -> Path:
    if options.splits is not None:
        return options.splits
    if options.data in (*System, ALL):
        return run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    return run_dir.folder(Stage.CLASSIFY)


def _find_adapter(run_dir: RunDir, options: TrainingOptions, made_by: Stage) -> Path:
    if options.adapter is not None:
        return options.adapter
    folder = run_dir.require(made_by, "adapter", "--adapter")
    run_dir.require_current(made_by)
    return folder / Artifact.ADAPTER


def _find_mask(run_dir: RunDir, named: str | None) -> Path | None:
    """Returns the mask file that `--mask` names or the run has; None for all elements."""
    if named is not None:
        return None if named == "none" else Path(named)
    folder = run_dir.require(Stage.PARTITION, "mask", "--mask")
    run_dir.require_current(Stage.PARTITION)
    return folder / Artifact.MASK


def training_files(
    splits: Path, data: str, replay: float, replay_source: str = OTHER
) -> dict[str, Path]:
    """Returns name -> file of what `--data` and `--replay` make a stage read, its own first.

    Args:
        splits: Folder with system1.jsonl and system2.jsonl.
        data: `system1`, `system2`, `all`, or a file in any format that `classify` reads.
        replay: Share of the records that is replayed; 0 for none.
        replay_source: `other`, `self`, or a file in any format that `classify` reads.

    Raises:
        UsageError: Records of the other system were requested where there is none.
    """
    if data == ALL:
        files = {system.value: splits / split_file(system) for system in System}
    elif data in tuple(System):
        files = {data: splits / split_file(data)}
    else:
        files = {DATA: Path(data)}
    if replay and replay_source not in (OTHER, SELF):
        files[REPLAYED] = Path(replay_source)
    elif replay:
        if data not in tuple(System):
            raise UsageError(
                "`--replay` takes records of the other system, and there is none here",
                f"`--data` is {data}",
                "omit `--replay`, name a file with `--replay-source`, or train on `system1` or "
                "`system2`",
            )
        other = _OTHER[System(data)]
        files[other.value] = splits / split_file(other)
    return files


def read_training_records(
    files: dict[str, Path],
    replay: float,
    seed: int,
    notes: list[str],
    select: Select = lambda records, _: records,
) -> TrainingRecords:
    """Returns the records to train on, the stage's own and replayed ones.

    Args:
        files: What `training_files` returned.
        notes: Where a sentence is added if there are too few records to replay.
        select: Returns those of a file's records that the stage can use.

    Raises:
        LoraparError: A file holds nothing to train on.
    """
    parts = []
    for name, path in files.items():
        found = read_data(path) if name in (DATA, REPLAYED) else read_records(path)
        if not found:
            _refuse_empty(name, path)
        parts.append(select(found, path))
    if not replay:
        return TrainingRecords([record for part in parts for record in part], [])
    own, other = [record for part in parts[:-1] for record in part], parts[-1]
    replayed = draw_replay(own, other, replay, seed)
    wanted = replay_count(len(own), replay)
    if not wanted:
        notes.append(
            f"`--replay {replay}` of {counted(len(own), 'record')} is less than one: nothing is replayed"
        )
    if REPLAYED in files and (both := common_prompts(replayed, own)):
        notes.append(
            f"{len(both)} of {counted(len(replayed), 'record')} to replay from "
            f"`{files[REPLAYED]}` {inflected(len(both), 'has', 'have')} a prompt that the stage trains on anyway"
        )
    if len(replayed) < wanted:
        of = f"`{files[REPLAYED]}`" if REPLAYED in files else "the other system"
        notes.append(
            f"`--replay {replay}` asks for {counted(wanted, 'record')} of {of} and there "
            f"{inflected(len(other), 'is', 'are')} {len(other)}: their share is "
            f"{len(replayed) / (len(own) + len(replayed)):.1%}"
        )
    return TrainingRecords(own, replayed)


def _refuse_empty(name: str, path: Path) -> NoReturn:
    options = {DATA: "--data", REPLAYED: "--replay-source"}
    raise LoraparError(
        f"there is nothing to {'replay' if name == REPLAYED else 'train on'}",
        f"`{path}` is empty",
        f"name a file of records with `{options[name]}`" if name in options else MORE_LABELS,
    )


def read_data(path: Path) -> list[Record]:
    """Returns the records of a user's file."""
    try:
        return list(open_source(str(path)).records())
    except LoraparError as error:
        # The reader's hints name options that only `classify` has.
        raise LoraparError(
            error.what,
            error.found,
            "fix it, or read it with `lorapar classify`, which has options for other formats, and "
            "give its `labels.jsonl`",
        ) from error


def drop_too_long(
    items: list[Item],
    lengths: list[int],
    records: list[Record],
    limit: int,
    what: str,
    option: str,
    notes: list[str],
) -> list[Item]:
    """Returns the items within `limit` tokens.

    Args:
        lengths: Tokens of each item.
        records: Record of each item.
        what: What is measured, for messages.
        option: The one that gives the limit, for messages.
        notes: Where a sentence is added that names the records that are left out.

    Raises:
        LoraparError: Nothing is left.
    """
    kept = [item for item, length in zip(items, lengths, strict=True) if length <= limit]
    dropped = [record for record, n in zip(records, lengths, strict=True) if n > limit]
    if not kept:
        raise LoraparError(
            f"every record is longer than {counted(limit, 'token')} ({what})",
            f"the shortest has {min(lengths)}",
            f"raise `{option}`",
        )
    if dropped:
        first = ", ".join(f"`{record.id}`" for record in dropped[:_NAMED])
        more = ", ..." if len(dropped) > _NAMED else ""
        notes.append(
            f"{len(dropped)} of {counted(len(items), 'record')} left out, {what} over "
            f"{counted(limit, 'token')}: "
            f"{first}{more}"
        )
    return kept
