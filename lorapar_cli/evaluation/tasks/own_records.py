"""Your own records, or those that `classify` held out.

Data: any format that `classify` reads, for example

    {"question": "Tom has 3 apples and buys 2. How many?", "answer": "3+2=5\\n#### 5"}

Prompt: the record's, through the model's chat template, as in training. Metric: accuracy by `--match`,
also by system and number of steps where records have them. Records without a reference answer are
excluded and counted.
"""

from lorapar_cli.data.formats import source_label
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.task import GroupKind, Item, Task
from lorapar_cli.grading.latex import check_latex
from lorapar_cli.plurals import counted
from lorapar_cli.store.records import Record


def load_own_records(options: EvalOptions) -> Task:
    """Returns the task of the records that `--data` names.

    Raises:
        LoraparError, UsageError: No records are named, or none has a reference answer.
    """
    if options.data is None:
        raise UsageError("no records are named", hint="name them with `--data`")
    if options.match == "latex":
        check_latex()
    source = open_source(options.data, limit=options.limit)
    records = list(source.records())
    items = [
        _to_item(record, accepted)
        for record in records
        if (accepted := record.accepted_by(options.match))
    ]
    if records and not items:
        raise LoraparError(
            f"no record in `{options.data}` has a reference answer",
            f"{counted(len(records), 'record')}, for instance `{records[0].id}`",
            "an answer ends in `#### x`, `<answer>x</answer>` or `\\boxed{x}`, or is in the field "
            "`reference_answer`",
        )
    return Task(
        "data",
        options.match,
        items,
        {"data": source.describe()},
        without_reference=len(records) - len(items),
        records=records,
    )


def _to_item(record: Record, accepted: list[str]) -> Item:
    several = tuple(accepted) if len(accepted) > 1 else ()
    first = accepted[0]
    return Item(
        record.id,
        record.prompt,
        first,
        _groups(record),
        tools=record.tools,
        reference_answers=several,
    )


def _groups(record: Record) -> dict[GroupKind, str]:
    groups: dict[GroupKind, str] = {}
    if system := record.label or source_label(record):
        groups["system"] = str(system)
    if (steps := record.extra.get("steps")) is not None:
        groups["steps"] = str(steps)
    return groups
