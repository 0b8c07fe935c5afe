"""A validation part of training records: drawn by prompt, so that it is apart from what is left."""

import hashlib
import json
from collections.abc import Iterable, Sequence

from lorapar_cli.store.records import Record

MOST_VALIDATION = 200
"""Records per system; more would make each evaluation slow, not better."""


def prompt_key(record: Record) -> str:
    """Returns a text that is the same for records with the same prompt."""
    return json.dumps(record.prompt, sort_keys=True, default=str, separators=(",", ":"))


def choose_validation(records: Sequence[Record], share: float, seed: int) -> list[Record]:
    """Returns the share of the records that is not trained on, in their order; at most 200.

    It depends on prompts and seed, not on the records' order. Records with the same prompt stay
    together, so the part may be a little smaller than the share; at least one record is left.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(prompt_key(record), []).append(record)
    room = min(max(1, round(share * len(records))), MOST_VALIDATION, len(records) - 1)
    chosen: set[int] = set()
    for prompt in sorted(groups, key=lambda text: _draw(text, seed)):
        if len(groups[prompt]) <= room:
            room -= len(groups[prompt])
            chosen |= {id(record) for record in groups[prompt]}
    return [record for record in records if id(record) in chosen]


def _draw(prompt: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {prompt}".encode()).hexdigest()


def common_prompts(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """Returns those of the records whose prompt one of the others has too."""
    prompts = {prompt_key(record) for record in others}
    return [record for record in records if prompt_key(record) in prompts]
