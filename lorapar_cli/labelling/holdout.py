"""Chance that depends on names and a seed, never on order: held-out records and random splits."""

from collections.abc import Iterable, Iterator

from lorapar_cli.labelling.votes.record_index import RecordIndex


def share_count(total: int, share: float) -> int:
    """Returns how many of `total` records a share of them is, rounded."""
    return int(share * total + 0.5)


def held_out_count(total: int, share: float, most: int) -> int:
    """Returns how many of `total` records to hold out: the share, rounded, at most `most`."""
    return min(share_count(total, share), most, max(total - 1, 0))


def choose_held_out(groups: Iterable[tuple[int, int]], count: int) -> Iterator[int]:
    """Yields the groups of records that are held out.

    Groups are taken whole, as long as they fit: a question that stands in the data twice must not
    be both trained on and tested.

    Args:
        groups: Each group's name and size, in the order of the smallest draw among its records.
        count: Most records to hold out; fewer where the last groups do not fit.
    """
    left = count
    for group, size in groups:
        if left == 0:
            return
        if size <= left:
            left -= size
            yield group


def hold_out(index: RecordIndex, share: float, most: int) -> None:
    """Marks the records that are held out; empty ones never are."""
    usable = index.ask_for("SELECT count(*) FROM records WHERE NOT empty")
    count = held_out_count(usable, share, most)
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
