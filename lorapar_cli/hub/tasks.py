"""What is evaluated: items with a prompt, a reference and the groups they are reported by."""

from dataclasses import dataclass, field
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.datasets import open_source
from lorapar_cli.hub.formats import source_label
from lorapar_cli.store.records import Message, Record


@dataclass(frozen=True)
class Item:
    """One question of an evaluation.

    Attributes:
        id: Unique within the task.
        prompt: Text, or chat messages, for `hub.prompts.encode_prompt`.
        reference: The final answer that is right, or None where there is none to compare with.
        groups: Group kind (`system`, `steps`, ...) -> the group that the item is in.
    """

    id: str
    prompt: str | list[Message]
    reference: str | None
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """An evaluation's items and where they came from.

    Attributes:
        inputs: As `store.manifest.describe_inputs` returns.
        without_reference: Records that were left out, since nothing says what is right.
    """

    items: list[Item]
    inputs: dict[str, dict[str, str]]
    without_reference: int = 0


def own_task(data: str, limit: int | None) -> Task:
    """Returns the task of a user's own records: is the final answer the reference?

    Args:
        data: A file or hub id that `hub.datasets` reads.
        limit: Use the first so many records only.

    Raises:
        LoraparError: The data cannot be read, is empty, or no record has a reference answer.
    """
    source = open_source(data, limit=limit)
    records = list(source.records())
    if not records:
        raise LoraparError(f"no records in `{data}`", hint="name other records with `--data`")
    judged = [record for record in records if record.reference_answer is not None]
    if not judged:
        raise LoraparError(
            f"no record in `{data}` has a reference answer",
            f"{len(records)} records, for instance `{records[0].id}`",
            "an answer ends in `#### x`, `<answer>x</answer>` or `\\boxed{x}`, or stands in the "
            "field `reference_answer`",
        )
    items = _unique([_to_item(record) for record in judged], data)
    return Task(items, {"data": source.describe()}, len(records) - len(judged))


def _to_item(record: Record) -> Item:
    groups: dict[str, Any] = {
        "system": record.label or source_label(record),
        "steps": record.extra.get("steps"),
    }
    known = {kind: str(value) for kind, value in groups.items() if value is not None}
    return Item(record.id, record.prompt, record.reference_answer, known)


def _unique(items: list[Item], data: str) -> list[Item]:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise LoraparError(
                f"two records in `{data}` have the id `{item.id}`",
                hint="give every record its own `id`, or none: then ids are made from the content",
            )
        seen.add(item.id)
    return items
