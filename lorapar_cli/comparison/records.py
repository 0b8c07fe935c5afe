"""The records of a comparison: what cells train on, choose rates on, and are measured on."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.comparison.cells import canonical
from lorapar_cli.data.formats import source_label
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.measuring.validation import choose_validation, common_prompts
from lorapar_cli.names import Artifact, Stage, System, split_file
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.atomic import atomic_file, new_folder
from lorapar_cli.store.manifest import sha256_file
from lorapar_cli.store.records import Record, read_records, write_records
from lorapar_cli.store.run_dir import RunDir

_VALIDATION = "validation.jsonl"
_COMPLETE = "records.json"


@dataclass(frozen=True)
class ComparedRecords:
    """Files of records, in one folder that is named after their content.

    Attributes:
        folder: Has `system1.jsonl` and `system2.jsonl`, on which cells train.
        digest: Of all of them.
        measured: Number of records of each system that cells are measured on.
        source: Where these are from.
    """

    folder: Path
    digest: str
    measured: Mapping[str, int]
    source: str

    @property
    def validation(self) -> Path:
        """Records of both systems that the learning rates are chosen on."""
        return self.folder / _VALIDATION

    @property
    def held_out(self) -> Path:
        """Records of both systems that cells are measured on."""
        return self.folder / Artifact.HELD_OUT


def prepare_records(
    run_dir: RunDir, root: Path, data: str | None, share: float, seed: int
) -> ComparedRecords:
    """Divides the run's training records and writes all parts below `root`.

    Args:
        data: Records to measure on; None for those that `classify` held out.
        share: Of each system's training records, the part that rates are chosen on.
        seed: Decides which.

    Raises:
        LoraparError: A part is empty, or records to measure on are trained on as well.
    """
    classified = run_dir.require(Stage.CLASSIFY, "labelled splits", "--run-dir")
    source = str(classified / Artifact.HELD_OUT) if data is None else data
    held_out = _read_measured(source, is_default=data is None)
    files = {system: classified / split_file(system) for system in System}
    splits = {system: read_records(path) for system, path in files.items()}
    _require_apart(held_out, [record for part in splits.values() for record in part], source)
    wanted = {
        "files": {system.value: sha256_file(path) for system, path in files.items()},
        "held out": [record.to_json() for record in held_out],
        "share": share,
        "seed": seed,
    }
    digest = hashlib.sha256(canonical(wanted).encode()).hexdigest()[:16]
    folder = root / "records" / digest
    if not (folder / _COMPLETE).is_file():
        with new_folder(folder) as built:
            _write_parts(built, splits, held_out, share, seed)
    counts = Counter(str(record.label) for record in held_out)
    return ComparedRecords(folder, digest, counts, source)


def _write_parts(
    folder: Path,
    splits: dict[System, list[Record]],
    held_out: list[Record],
    share: float,
    seed: int,
) -> None:
    chosen: list[Record] = []
    for system, records in splits.items():
        validation = choose_validation(records, share, seed)
        if not validation:
            raise LoraparError(
                f"{counted(len(records), 'training record')} of {system} "
                f"{inflected(len(records), 'is', 'are')} too few for a validation part",
                hint="label more records, or give another `--validation`",
            )
        chosen += validation
        ids = {id(record) for record in validation}
        write_records(folder / split_file(system), (r for r in records if id(r) not in ids))
    write_records(folder / _VALIDATION, chosen)
    write_records(folder / Artifact.HELD_OUT, held_out)
    with atomic_file(folder / _COMPLETE) as file:
        json.dump({"validation": len(chosen), "held out": len(held_out)}, file)


def _read_measured(source: str, *, is_default: bool) -> list[Record]:
    """Returns the records to measure on, each with its system.

    Raises:
        LoraparError: There are none, or one has no system.
    """
    path = Path(source)
    records = read_records(path) if is_default and path.is_file() else []
    if not is_default:
        records = list(open_source(source).records())
    for record in records:
        record.label = record.label or source_label(record)
        if record.label is None:
            raise LoraparError(
                f"record `{record.id}` of `{source}` has no system",
                hint="give each record a `label`, `system1` or `system2`",
            )
    if not records:
        raise LoraparError(
            "there are no held-out records to measure on",
            f"`{source}` is empty" if path.is_file() else f"`{source}` does not exist",
            "name records with `--data`, or run `lorapar classify` with `--holdout`",
        )
    return records


def _require_apart(measured: Iterable[Record], trained: Iterable[Record], source: str) -> None:
    both = [record.id for record in common_prompts(measured, trained)]
    if both:
        raise LoraparError(
            f"{counted(len(both), 'record')} to measure on "
            f"{inflected(len(both), 'is a training record', 'are training records')} of the run as well",
            f"`{both[0]}` of `{source}`, by its prompt",
            "measure on records that the run has not seen",
        )
