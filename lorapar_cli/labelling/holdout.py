"""Held-out records: chosen at random by id and seed, never by order."""

from collections.abc import Iterable, Iterator

from lorapar_cli.labelling.votes.record_index import RecordIndex


def share_count(total: int, share: float) -> int:
    """Returns the number of records in a share of `total`, rounded."""
    return int(share * total + 0.5)


def held_out_count(total: int, share: float, maximum: int) -> int:
    """Returns how many of `total` records to hold out: the share, rounded, but not all of them."""
    return min(share_count(total, share), maximum, max(total - 1, 0))


def choose_held_out(groups: Iterable[tuple[int, int]], count: int) -> Iterator[int]:
    """Yields the groups of records that are held out.

    A group is taken whole if it still fits: a question that occurs twice in the data must not be
    both trained on and tested.

    Args:
        groups: Name and size of each group, ordered by the smallest draw among its records.
        count: Maximum number of records to hold out; fewer if the last groups do not fit.
    """
    left = count
    for group, size in groups:
        if left == 0:
            return
        if size <= left:
            left -= size
            yield group


def hold_out(index: RecordIndex, share: float, maximum: int) -> None:
    """Marks the records that are held out, never empty ones."""
    usable = index.query_value("SELECT count(*) FROM records WHERE NOT empty")
    count = held_out_count(usable, share, maximum)
    if count == 0:
        return
    groups = index.database.execute(
        "SELECT prompt, count(*) FROM records WHERE NOT empty"
        " GROUP BY prompt ORDER BY min(draw), prompt"
    )
    index.database.execute("CREATE TABLE held_out (prompt INTEGER PRIMARY KEY)")
    chosen = ((prompt,) for prompt in choose_held_out(groups, count))
    index.database.executemany("INSERT INTO held_out VALUES (?)", chosen)
    index.database.execute(
        "UPDATE records SET held_out = 1"
        " WHERE NOT empty AND prompt IN (SELECT prompt FROM held_out)"
    )
