"""The parts of a stage's records: what it trains on, validates on, and neither of both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.models.measuring.held_out import HeldOut, read_held_out
from lorapar_cli.models.measuring.validation import common_prompts
from lorapar_cli.names import System
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.training import TrainedRecords
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import (
    REPLAYED,
    TrainingInputs,
    TrainingRecords,
    read_data,
    read_training_records,
)
from lorapar_cli.training.options import TrainingOptions
from lorapar_cli.training.watching.records import (
    Select,
    ValidationPart,
    check_apart,
    draw_validation,
)


@dataclass(frozen=True)
class StageRecords(TrainingRecords):
    """The same, and those that the stage does not train on; all are apart.

    Attributes:
        held_out: What neither training nor any choice sees; None for none.
        validation: What the stage validates on; None for none.
    """

    held_out: HeldOut | None
    validation: ValidationPart | None


def read_stage_records(
    run_dir: RunDir,
    source: TrainingInputs,
    options: TrainingOptions,
    notes: list[str],
    select: Callable[[list[Record], Path, list[str]], list[Record]] = lambda records, *_: records,
) -> StageRecords:
    """Returns what a stage trains on, validates on, and measures forgetting on.

    Args:
        select: Returns those of a file's records that the stage can train on; adds to the notes that
            it is given.

    Raises:
        LoraparError: There is nothing to train or validate on, or the parts overlap.
    """
    part = _draw_validation(source, options, lambda found, path: select(found, path, []))

    def usable(found: list[Record], path: Path) -> list[Record]:
        return select(found, path, notes)

    trained = read_training_records(
        source.files,
        options.replay,
        options.seed,
        notes,
        usable if part is None else part.without(usable),
    )
    held_out = read_held_out(run_dir)
    if held_out is not None and (tested := common_prompts(trained.all, held_out.records)):
        notes.append(
            f"{len(tested):,} of {counted(len(trained.all), 'record')} that "
            f"{inflected(len(trained.all), 'is', 'are')} trained on "
            f"{inflected(len(tested), 'has', 'have')} a prompt that `lorapar eval` tests on: "
            "figures look better there than they are"
        )
    if part is not None:
        check_apart(part, trained.all, held_out, options, notes)
    return StageRecords(trained.own, trained.replayed, held_out, part)


def _draw_validation(
    source: TrainingInputs, options: TrainingOptions, select: Select
) -> ValidationPart | None:
    files = {name: path for name, path in source.files.items() if name != REPLAYED}
    # The other system's are validated on whether or not they can be trained on.
    own = {options.data: files[options.data]} if options.data in tuple(System) else files
    other = {name: path for name, path in files.items() if name not in own}

    def read(name: str, path: Path) -> list[Record]:
        records = read_data(path) if name == "data" else read_records(path)
        return select(records, path) if name in own else records

    return draw_validation(options, options.seed, own, source.validation | other, read)


def count_validation(counts: TrainedRecords, read: StageRecords) -> None:
    """Adds the number of validation records, where there are any, to what a stage counts."""
    if read.validation is not None:
        counts["validation_records"] = read.validation.counts
