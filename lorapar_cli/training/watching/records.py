"""Which records are measured while a stage trains: the held-out ones, and a validation part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.data.formats import source_label
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.measuring.held_out import HeldOut
from lorapar_cli.models.measuring.validation import choose_validation, common_prompts, prompt_key
from lorapar_cli.names import System, split_file
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.records import Record
from lorapar_cli.training.watching.options import WatchOptions

UNLABELLED = "unlabelled"
"""Stands for the system of records that have none."""
VALIDATION_INPUT = "validation"
"""Name of the user's own file of validation records among a manifest's inputs."""

Select = Callable[[list[Record], Path], list[Record]]
"""Returns those of a file's records that a stage can use."""


def system_of(record: Record) -> str:
    """Returns a record's system, or `unlabelled`."""
    return str(record.label or source_label(record) or UNLABELLED)


def validation_inputs(
    options: WatchOptions, data: str, splits: Path, files: Mapping[str, Path]
) -> dict[str, Path]:
    """Returns name -> file that the validation part is taken from, besides those trained on.

    Args:
        data: The stage's `--data`.
        splits: Folder with system1.jsonl and system2.jsonl.
        files: What the stage trains on, by name.
    """
    if options.validation_file is not None:
        path = Path(options.validation_file)
        # A data set of the hub or a folder is no file to compare later.
        return {VALIDATION_INPUT: path} if path.is_file() else {}
    if options.validation_share is None or data not in tuple(System):
        return {}
    return {
        system.value: path
        for system in System
        if system not in files and (path := splits / split_file(system)).is_file()
    }


@dataclass(frozen=True)
class ValidationPart:
    """Records that are validated on and not trained on.

    Attributes:
        prompts: Their prompts, as `prompt_key` returns them; empty for a file of other records.
    """

    records: list[Record]
    prompts: frozenset[str]

    @property
    def counts(self) -> dict[str, int]:
        """Number of records by system."""
        systems = [system_of(record) for record in self.records]
        return {system: systems.count(system) for system in sorted(set(systems))}

    def without(self, select: Select) -> Select:
        """Returns a selection that also leaves these records out."""
        if not self.prompts:
            return select

        def apart(records: list[Record], path: Path) -> list[Record]:
            kept = [r for r in select(records, path) if prompt_key(r) not in self.prompts]
            if not kept:
                raise LoraparError(
                    "the validation part leaves nothing to train on",
                    f"every prompt of `{path}` is in it",
                    "give a smaller `--validation`, or more records",
                )
            return kept

        return apart


def draw_validation(
    options: WatchOptions,
    seed: int,
    own: Mapping[str, Path],
    other: Mapping[str, Path],
    read: Callable[[str, Path], list[Record]],
) -> ValidationPart | None:
    """Returns the records to validate on, None where no validation was asked for.

    Args:
        own: Name -> file that the stage trains on, without replay.
        other: Of `validation_inputs`, and files of replay.
        read: Returns the usable records of a file of that name.

    Raises:
        LoraparError: A part is empty.
    """
    if options.eval_steps is None:
        return None
    if options.validation_file is not None:
        records = list(open_source(options.validation_file).records())
        if not records:
            raise LoraparError(f"there is nothing to validate on in `{options.validation_file}`")
        return ValidationPart(records, frozenset())
    share = options.validation_share
    if share is None:
        raise AssertionError("validation on nothing was asked for")
    chosen: list[Record] = []
    for name, path in {**own, **other}.items():
        records = read(name, path)
        part = choose_validation(records, share, seed)
        if not part and name in own:
            raise LoraparError(
                f"{counted(len(records), 'record')} of `{path}` "
                f"{inflected(len(records), 'is', 'are')} too few for a validation part",
                hint="label more records, or give a file of others with `--validation`",
            )
        chosen += part
    return ValidationPart(chosen, frozenset(map(prompt_key, chosen)))


def check_apart(
    part: ValidationPart,
    trained: Sequence[Record],
    held_out: HeldOut | None,
    options: WatchOptions,
    notes: list[str],
) -> None:
    """Checks that validation records are not trained on; notes those that `eval` tests on.

    Raises:
        LoraparError: One is trained on.
    """
    if both := common_prompts(part.records, trained):
        raise LoraparError(
            f"{counted(len(both), 'validation record')} {inflected(len(both), 'is', 'are')} trained on "
            "as well",
            f"`{both[0].id}`, by its prompt",
            "validate on records that the stage does not train on",
        )
    counts = ", ".join(f"{n:,} {system}" for system, n in part.counts.items())
    number = len(part.records)
    are = inflected(number, "is", "are")
    apart = "" if options.validation_file else f" {are} not trained on and"
    notes.append(f"{counted(number, 'record')}{apart} {are} validated on: {counts}")
    if held_out is not None and (tested := common_prompts(part.records, held_out.records)):
        notes.append(
            f"{counted(len(tested), 'validation record')} "
            f"{inflected(len(tested), 'is', 'are')} among those that `lorapar eval` tests on: what "
            "is chosen by them looks better there than it is"
        )
