"""One pass over a data set that checks every record and keeps a few dozen bytes of each.

With that, later passes stream: they know which ids stand twice, which records hold the same text,
which are held out, and under which key each answer is journaled.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lorapar_cli.core.holdout import draw
from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.datasets import Source
from lorapar_cli.hub.formats import content_digest, empty_side, source_label
from lorapar_cli.names import Progress
from lorapar_cli.store.journal import CODES
from lorapar_cli.store.records import Record

_DIGEST_BYTES = 16


@dataclass
class Index:
    """What is kept of each record, in input order.

    Attributes:
        source: The data set that was read.
        digests: 16 bytes a record, of prompt and completion.
        ids: uint64, hash of the id as the source has it.
        prompts: uint64, hash of the prompt.
        draws: uint64, uniform by id and seed.
        truths: uint8, the source's own label as a vote code, 0 where it has none.
        empty: bool, records that teach nothing.
        owners: int64, the first record with the same prompt and completion.
        bad: Places and causes of the first rows that were left out.
        bad_count: How many rows were left out.
    """

    source: Source
    digests: bytes
    ids: np.ndarray
    prompts: np.ndarray
    draws: np.ndarray
    truths: np.ndarray
    empty: np.ndarray
    owners: np.ndarray
    bad: list[str]
    bad_count: int

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self, index: int) -> bytes:
        """Returns the 16 bytes that stand for a record's prompt and completion."""
        return self.digests[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]

    def records(self) -> Iterator[Record]:
        """Yields the records again; a repeated id gets a suffix `#2`, `#3`, ...

        Raises:
            LoraparError: The data is no longer what was indexed.
        """
        values, counts = np.unique(self.ids, return_counts=True)
        repeated = set(values[counts > 1].tolist())
        seen: Counter[int] = Counter()
        index = -1
        for index, record in enumerate(self.source.records()):
            if index >= len(self) or _digest(record) != self.digest(index):
                break
            hashed = int(self.ids[index])
            if hashed not in repeated:
                yield record
                continue
            seen[hashed] += 1
            yield (
                record
                if seen[hashed] == 1
                else replace(record, id=_free_id(record.id, seen, hashed, values))
            )
        else:
            if index + 1 == len(self):
                return
        raise LoraparError(
            f"`{self.source.name}` changed while it was read",
            hint="give the same command again, answers so far are kept",
        )

    def repeated_ids(self) -> int:
        """Returns how many records share an id with an earlier one."""
        return len(self) - len(np.unique(self.ids))


def _free_id(name: str, seen: Counter[int], hashed: int, taken: np.ndarray) -> str:
    while True:
        candidate = f"{name}#{seen[hashed]}"
        place = int(np.searchsorted(taken, np.uint64(_hash(candidate))))
        if place == len(taken) or int(taken[place]) != _hash(candidate):
            return candidate
        seen[hashed] += 1


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _digest(record: Record) -> bytes:
    return bytes.fromhex(content_digest(record.prompt, record.completion))[:_DIGEST_BYTES]


def build_index(source: Source, seed: int, progress: Progress) -> Index:
    """Reads the whole data set once and returns its index.

    Raises:
        LoraparError: A row is no record (unless the source skips such), or there are none.
    """
    digests = bytearray()
    ids, prompts, draws = array("Q"), array("Q"), array("Q")
    truths, empty = array("B"), array("B")
    for count, record in enumerate(source.records(), 1):
        digests += _digest(record)
        ids.append(_hash(record.id))
        prompts.append(_hash(repr(record.prompt)))
        draws.append(draw(record.id, seed, "records"))
        truth = source_label(record)
        truths.append(CODES[truth] if truth else 0)
        empty.append(empty_side(record) is not None)
        if count % 1000 == 0:
            progress("reading", count, None)
    if not ids:
        raise LoraparError(
            f"`{source.name}` holds no records",
            f"{source.bad_count} lines were left out, first {source.bad[0]}"
            if source.bad
            else None,
        )
    progress("reading", len(ids), len(ids))
    keys = np.frombuffer(bytes(digests), np.uint64)[::2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return Index(
        source,
        bytes(digests),
        np.frombuffer(ids, np.uint64),
        np.frombuffer(prompts, np.uint64),
        np.frombuffer(draws, np.uint64),
        np.frombuffer(truths, np.uint8),
        np.frombuffer(empty, np.uint8).astype(bool),
        first[inverse],
        source.bad,
        source.bad_count,
    )
