"""Labels that override the vote: drawn at random, or given by a person."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.holdout import share_count
from lorapar_cli.labelling.votes.record_index import RecordIndex
from lorapar_cli.labelling.votes.voting import CODES, SYSTEM1, SYSTEM2
from lorapar_cli.names import System
from lorapar_cli.store.records import read_jsonl


def assign_random_labels(index: RecordIndex, share: float) -> None:
    """Labels every record at random; exactly the share, rounded, is System 2."""
    ordered = index.database.execute("SELECT draw, number FROM records ORDER BY draw, number")
    count = share_count(len(index), share)
    last = next(islice(ordered, count - 1, None)) if count else (-(1 << 63), -1)
    index.database.execute(
        f"UPDATE records SET random_label ="
        f" CASE WHEN (draw, number) <= (?, ?) THEN {SYSTEM2} ELSE {SYSTEM1} END",
        last,
    )


def read_review(path: Path, index: RecordIndex) -> None:
    """Enters the labels that a person gave into the index.

    Raises:
        LoraparError: A line is not a reviewed record, or its id is not in the data.
    """
    database = index.database
    database.execute("CREATE TABLE review (id TEXT UNIQUE, label INTEGER, line INTEGER)")
    database.executemany(
        "INSERT INTO review VALUES (?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET label = excluded.label, line = excluded.line",
        _review_lines(path),
    )
    name = "CASE suffix WHEN 0 THEN records.id ELSE records.id || '#' || suffix END"
    found = database.execute(
        f"UPDATE records SET reviewed = (SELECT label FROM review WHERE review.id = {name})"
        f" WHERE {name} IN (SELECT id FROM review)"
    ).rowcount
    if unknown := index.query_value("SELECT count(*) FROM review") - found:
        first, line = database.execute(
            f"SELECT id, line FROM review WHERE id NOT IN (SELECT {name} FROM records)"
            " ORDER BY rowid"
        ).fetchone()
        raise LoraparError(
            f"`{path}` has ids that are not in the data",
            f"{unknown}, first `{first}` on line {line}",
        )


def _review_lines(path: Path) -> Iterator[tuple[str, int, int]]:
    for number, line in read_jsonl(path):
        label = line.get("label")
        if label is None and "id" in line:
            continue
        if label not in tuple(System) or "id" not in line:
            raise LoraparError(
                f"`{path}:{number}` is not a reviewed record",
                f"id {line.get('id')!r}, label {label!r}",
                "each line needs an `id` and a `label`, system1 or system2",
            )
        yield str(line["id"]).encode(errors="replace").decode(), CODES[System(label)], number
