"""Reads data sets as a stream of records: files of every kind, folders, hub data sets, a pipe.

Nothing here holds more than one record or one Parquet batch at a time, so files of any size can be
read, as often as a stage needs.
"""

import glob
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lorapar_cli.data.files import COMPRESSIONS, SUFFIXES, DataFile, Placed, data_file
from lorapar_cli.data.folders import describe_folder, folder_files, is_configured
from lorapar_cli.data.formats import FORMATS, Fields, read_row
from lorapar_cli.data.hub import LoadedData, is_saved_folder
from lorapar_cli.data.rows import BadRow
from lorapar_cli.data.stdin import read_stdin
from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.store.disk.regular_files import kind_of
from lorapar_cli.store.records import Record
from lorapar_cli.store.reuse import describe_inputs

STDIN = "-"
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
# Endings of files, which hub ids do not have: `.5` of a version is no such ending.
_FILE_ENDING = re.compile(
    r"\.(?:jsonl?|ndjson|csv|tsv|parquet|gz|zst|bz2|xz|zip|tar|tgz|txt|md|ya?ml|xml|html?|xlsx?|"
    r"arrow|feather|pkl|pickle|npy|pt|bin|safetensors|py|sql|sqlite|db|bak|tmp|log)$",
    re.IGNORECASE,
)
_SHOWN_BAD_ROWS = 5


@dataclass(frozen=True)
class Part:
    """One of the files, folders or hub data sets that make up a data set.

    Attributes:
        rows: Yields its rows from the beginning.
        describe: Returns its name and a digest of its contents, as the manifest records them.
    """

    rows: Callable[[], Iterator[Placed]]
    describe: Callable[[], dict[str, str]]


@dataclass
class Source:
    """A data set that can be read repeatedly from its beginning.

    Attributes:
        name: What the user gave: files, folders or hub ids.
        skip_bad: Skip rows that are not valid records, instead of failing on the first.
        limit: Largest number of records to read.
        bad: Places and causes of the first rows that the last reading skipped.
        bad_count: Number of rows that the last reading skipped.
        without_reference: Number of records of the last reading without a reference answer.
        unused: Fields that look like part of the question and were not used -> number of rows of
            the last reading that have them.
    """

    name: str
    fields: Fields
    parts: list[Part]
    skip_bad: bool = False
    limit: int | None = None
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0
    without_reference: int = 0
    unused: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[Placed]:
        """Yields place and row of each row, as it is in the data set."""
        for part in self.parts:
            yield from part.rows()

    def records(self) -> Iterator[Record]:
        """Yields the records in order.

        Raises:
            LoraparError: A row is not a valid record and `skip_bad` is off, or a file has an error
                that no row can be read behind; names file and line.
        """
        self.bad, self.bad_count = [], 0
        self.without_reference, self.unused = 0, Counter()
        return islice(self._all_records(), self.limit)

    def _all_records(self) -> Iterator[Record]:
        for place, row in self.rows():
            try:
                if isinstance(row, BadRow):
                    raise row
                read = read_row(row, self.fields)
            except BadRow as cause:
                self._skip(place, cause)
                continue
            self.unused.update(read.unused)
            for record in read.records:
                self.without_reference += record.reference_answer is None
                yield record

    def _skip(self, place: str, cause: BadRow) -> None:
        if not self.skip_bad:
            raise LoraparError(
                f"`{place}` is not a valid record",
                str(cause),
                "fix it, skip invalid records with `--skip-bad`, or name the fields with "
                "`--format` or with `--prompt-field` and `--completion-field`",
            ) from cause
        self.bad_count += 1
        if len(self.bad) < _SHOWN_BAD_ROWS:
            self.bad.append(f"{place}: {cause}")

    def inputs(self) -> dict[str, dict[str, str]]:
        """Returns the manifest's `inputs`: `data`, and `data-2`, ... of several parts."""
        return {
            f"data-{number}" if number > 1 else "data": part.describe()
            for number, part in enumerate(self.parts, 1)
        }

    def describe(self) -> dict[str, str]:
        """Returns the name and one digest of the contents of all parts."""
        described = [part.describe() for part in self.parts]
        if len(described) == 1:
            return described[0]
        digests = "\n".join(each["sha256"] for each in described)
        digest = hashlib.sha256(digests.encode()).hexdigest()
        return {"path": self.name, "sha256": digest, "source": "several"}


def open_source(
    data: str | Sequence[str],
    fields: Fields | None = None,
    *,
    split: str = "train",
    subset: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> Source:
    """Returns the data set of these names; only their existence is checked here.

    Args:
        data: One or several of: a file (`SUFFIXES`, text also compressed), a pattern of files, a
            folder, a hub id, or `-` for standard input.
        split: Which split of a folder or hub data set.
        subset: Which configuration of a hub data set.

    Raises:
        LoraparError: There is no such file, or its type is unknown.
        UsageError: Unknown format, or only one of prompt and completion field.
    """
    fields = fields or Fields()
    if fields.format != "auto" and fields.format not in FORMATS:
        raise UsageError(
            f"unknown format `{fields.format}`{nearest(fields.format, FORMATS)}",
            hint=f"formats: auto, {', '.join(FORMATS)}",
        )
    if bool(fields.prompt) != bool(fields.completion):
        raise UsageError("`--prompt-field` and `--completion-field` must be given together")
    if fields.prompt is not None and fields.prompt == fields.completion:
        raise UsageError(
            f"`--prompt-field` and `--completion-field` name the same field: `{fields.prompt}`",
            "the question would hold its answer",
            "a conversation is recognised in a field that is named `messages`: rename it",
        )
    names = [data] if isinstance(data, str) else list(data)
    if names.count(STDIN) > 1:
        raise UsageError(f"`{STDIN}`, standard input, is given more than once")
    parts = [part for name in names for part in _find_parts(name, split, subset)]
    return Source(", ".join(names), fields, parts, skip_bad, limit)


def _find_parts(data: str, split: str, subset: str | None) -> list[Part]:
    path = Path(data)
    if data == STDIN:
        file, digest = read_stdin()
        return [Part(file.rows, lambda: {"path": STDIN, "sha256": digest, "source": "stdin"})]
    if path.is_file():
        return [_file_part(data_file(path))]
    if data and path.is_dir():
        return [_folder_part(path, split, subset)]
    if data and path.exists():
        raise LoraparError(
            f"`{path}` is not a file",
            f"it is {kind_of(path.stat().st_mode)}",
            f"pipe the records into standard input and give `{STDIN}`",
        )
    if glob.has_magic(data):
        found = sorted(glob.glob(data, recursive=True))
        if not found:
            raise LoraparError(f"no file matches `{data}`")
        return [part for each in found for part in _find_parts(each, split, subset)]
    if _HUB_ID.fullmatch(data) and not _looks_like_path(data):
        loaded = LoadedData(data, subset, split)
        return [Part(loaded.rows, loaded.describe)]
    raise LoraparError(
        f"no such data file: `{data}`",
        hint=f"give a file ({', '.join((*SUFFIXES, *COMPRESSIONS))}), a folder, a hub data set "
        f"id, or `{STDIN}` for standard input",
    )


def _looks_like_path(data: str) -> bool:
    """Returns whether a name that a hub id could have is rather that of a missing file."""
    folder, slash, _ = data.partition("/")
    in_a_folder = slash != "" and Path(folder).is_dir()
    return in_a_folder or data.startswith(".") or _FILE_ENDING.search(data) is not None


def _file_part(file: DataFile) -> Part:
    path = Path(file.name)
    return Part(file.rows, lambda: describe_inputs({"data": path})["data"])


def _folder_part(folder: Path, split: str, subset: str | None) -> Part:
    if is_saved_folder(folder):
        loaded = LoadedData(str(folder), subset, split, is_saved=True)
        return Part(loaded.rows, loaded.describe)
    files = [] if subset or is_configured(folder) else folder_files(folder, split)
    if not files:
        loaded = LoadedData(str(folder), subset, split)
        return Part(loaded.rows, loaded.describe)
    return Part(
        lambda: (placed for file in files for placed in file.rows()),
        lambda: describe_folder(folder, files),
    )
