"""Records of the user, or those that `classify` held out."""

from typing import Any

from lorapar_cli.data.formats import source_label
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.tasks.task import Item, Task, TaskOptions
from lorapar_cli.grading.latex import check_latex
from lorapar_cli.store.records import Record


def load_own_records(asked: TaskOptions) -> Task:
    if asked.data is None:
        raise UsageError("no records are named", hint="name them with `--data`")
    if asked.match == "latex":
        check_latex()
    source = open_source(asked.data, limit=asked.limit)
    records = list(source.records())
    kept = [record for record in records if _reference(record, asked.match) is not None]
    if records and not kept:
        raise LoraparError(
            f"no record in `{asked.data}` has a reference answer",
            f"{len(records)} records, for instance `{records[0].id}`",
            "an answer ends in `#### x`, `<answer>x</answer>` or `\\boxed{x}`, or stands in the "
            "field `reference_answer`",
        )
    items = [
        Item(record.id, record.prompt, str(_reference(record, asked.match)), _groups(record))
        for record in kept
    ]
    inputs = {"data": source.describe()}
    return Task("data", asked.match, items, inputs, without_reference=len(records) - len(kept))


def _reference(record: Record, match: str) -> str | None:
    return record.completion.strip() if match == "exact" else record.reference_answer


def _groups(record: Record) -> dict[str, str]:
    groups: dict[str, Any] = {
        "system": record.label or source_label(record),
        "steps": record.extra.get("steps"),
    }
    return {kind: str(value) for kind, value in groups.items() if value is not None}
