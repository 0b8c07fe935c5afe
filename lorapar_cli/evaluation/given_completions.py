"""Completions that are given in a file, for `eval --completions`: read and graded."""

from collections.abc import Sequence
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.sample_journal import SampleJournal, describe_sample
from lorapar_cli.evaluation.tasks.task import Task, grade_items
from lorapar_cli.events import Advance, Progress
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.records import read_jsonl

GIVEN = "completions"
"""Their model's name in the results."""
_GRADED_AT_ONCE = 64


def read_completions(path: Path, task: Task, ks: Sequence[int] = (1,)) -> dict[str, list[str]]:
    """Returns item id -> its completions, from records of `task_id` or `id` and `completion`.

    Args:
        ks: k of pass@k and maj@k; each item needs as many completions as the largest.

    Raises:
        LoraparError: A line is not such a record, or ids are unknown or missing.
        UsageError: An item has fewer completions than the largest k.
    """
    completions: dict[str, list[str]] = {item.id: [] for item in task.items}
    for number, line in read_jsonl(path, half_pairs=True):
        known, text = line.get("task_id", line.get("id")), line.get("completion")
        if known is None or not isinstance(text, str):
            raise LoraparError(
                f"`{path}:{number}` is not a completion",
                f"fields: {', '.join(line) or '(none)'}",
                "a line needs `task_id` or `id`, and `completion` with text",
            )
        if str(known) not in completions:
            raise LoraparError(
                f"`{path}:{number}` completes `{known}`, which the task does not contain",
                f"the task's first id is `{task.items[0].id}`",
                "name the data that was completed with `--task` and `--data`",
            )
        completions[str(known)].append(text)
    missing = [key for key, texts in completions.items() if not texts]
    if missing:
        raise LoraparError(
            f"{len(missing):,} of {counted(len(completions), 'item')} "
            f"{inflected(len(missing), 'has', 'have')} no completion in `{path}`",
            ", ".join(missing[:5]),
            "complete every item: accuracy on a part of them is not comparable",
        )
    fewest = min(completions, key=lambda key: len(completions[key]))
    if max(ks, default=0) > len(completions[fewest]):
        raise UsageError(
            f"`--k {max(ks)}` needs at least that many completions per item",
            f"`{fewest}` has {len(completions[fewest])} in `{path}`",
        )
    return completions


def grade_completions(
    task: Task,
    completions: dict[str, list[str]],
    sandbox: Sandbox | None,
    journal: SampleJournal,
    progress: Progress,
) -> None:
    """Grades completions into the journal; those that it already has are skipped.

    Args:
        completions: Item id -> its completions, for every item.
    """
    pending = [
        (item, draw, text)
        for item in task.items
        for draw, text in enumerate(completions[item.id])
        if (GIVEN, item.id, draw) not in journal.known
    ]
    for start in range(0, len(pending), _GRADED_AT_ONCE):
        part = pending[start : start + _GRADED_AT_ONCE]
        items, texts = [item for item, _, _ in part], [text for _, _, text in part]
        grades = grade_items(task.match, items, texts, sandbox)
        journal.append(
            describe_sample(GIVEN, item, draw, text, grade)
            for (item, draw, text), grade in zip(part, grades, strict=True)
        )
        progress(Advance("grade completions", start + len(part), len(pending)))
