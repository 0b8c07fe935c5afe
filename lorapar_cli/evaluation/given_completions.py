"""Completions that were written elsewhere, for `eval --completions`."""

from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.store.records import read_jsonl


def read_completions(path: Path, task: Task) -> dict[str, list[str]]:
    """Returns item id -> its completions, from records of `task_id` or `id` and `completion`.

    Raises:
        LoraparError: A line is no such record, or ids are unknown or missing.
    """
    written: dict[str, list[str]] = {item.id: [] for item in task.items}
    for number, line in read_jsonl(path):
        known, text = line.get("task_id", line.get("id")), line.get("completion")
        if known is None or not isinstance(text, str):
            raise LoraparError(
                f"`{path}:{number}` is no completion",
                f"fields: {', '.join(line) or '(none)'}",
                "a line has `task_id` or `id`, and `completion` with a text",
            )
        if str(known) not in written:
            raise LoraparError(
                f"`{path}:{number}` answers `{known}`, which the task does not have",
                f"the task's first id is `{task.items[0].id}`",
                "name the data that was asked with `--task` and `--data`",
            )
        written[str(known)].append(text)
    missing = [key for key, texts in written.items() if not texts]
    if missing:
        raise LoraparError(
            f"{len(missing):,} of {len(written):,} items have no completion in `{path}`",
            ", ".join(missing[:5]),
            "complete every item; a share of the answered ones would compare with nothing",
        )
    return written
