"""MMLU's CSV files: as published, without a header, or with one, as some mirrors have them."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.mmlu_format import LETTERS, checked_row
from lorapar_cli.plurals import counted

_PUBLISHED = ("question", *LETTERS.lower(), "answer")
_NAMES = {"input": "question", "target": "answer"}
_CHOICE = re.compile(r"(?:choice|option)[ _]?([a-d])")


def read_published(folder: Path, split: str) -> Iterator[dict]:
    """Yields the rows of CSV files named as the published ones, `<split>/<subject>_<split>.csv`.

    A first row that names columns says where question, choices and answer are; other columns, such
    as an index, are not read. Without it a row has the question, four choices and the answer.

    Raises:
        LoraparError: There is no such file, one cannot be read, or a row does not fit; names file
            and line.
    """
    files = sorted((folder / split).glob(f"*_{split}.csv"))
    if not files:
        raise LoraparError(
            f"no MMLU files in `{folder}`",
            f"`{folder / split}` has no `*_{split}.csv`",
            "give the published folder (with `dev` and `test`), or one JSONL file",
        )
    for path in files:
        yield from _read_file(path, path.name.removesuffix(f"_{split}.csv"))


def _read_file(path: Path, subject: str) -> Iterator[dict]:
    header: list[str] | None = None
    places = {name: number for number, name in enumerate(_PUBLISHED)}
    is_first = True
    for line, cells in _read_cells(path):
        if is_first and (header := _read_header(cells)) is not None:
            places = _find_columns(header, f"{path}:{line}")
        wanted = len(_PUBLISHED) if header is None else len(header)
        if len(cells) != wanted:
            raise LoraparError(
                f"`{path}:{line}` has {counted(len(cells), 'cell')}, not {wanted}",
                hint="a row has the question, four choices and the answer, unless the first row "
                "names other columns",
            )
        if not (is_first and header is not None):
            row = {
                "subject": subject,
                "question": cells[places["question"]],
                "choices": [cells[places[letter]] for letter in LETTERS.lower()],
                "answer": cells[places["answer"]],
            }
            yield checked_row(row, f"{path}:{line}")
        is_first = False


def _read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line that each row begins on, and its cells; blank lines are left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            line = 1
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError) as cause:
        raise LoraparError(f"`{path}` is not a CSV file in UTF-8", str(cause)) from cause


def _read_header(cells: Sequence[str]) -> list[str] | None:
    """Returns the names of columns that a first row gives, in the words of `_PUBLISHED`."""
    names = [cell.strip().lower() for cell in cells]
    names = [_NAMES.get(name, _CHOICE.sub(r"\1", name)) for name in names]
    return names if {"question", "answer"} <= set(names) else None


def _find_columns(names: list[str], place: str) -> dict[str, int]:
    """Returns name -> number of each column that is read.

    Raises:
        LoraparError: One is missing or is there twice.
    """
    for name in _PUBLISHED:
        if names.count(name) != 1:
            shown = name if name in ("question", "answer") else f"choice {name.upper()}"
            raise LoraparError(
                f"`{place}` names {'no column' if name not in names else 'two columns'} for the "
                f"{shown}",
                ", ".join(each or "(no name)" for each in names),
                "name the columns question, A, B, C, D, answer",
            )
    return {name: names.index(name) for name in _PUBLISHED}
