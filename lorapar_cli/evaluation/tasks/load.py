"""Chooses a task and checks its items."""

from collections.abc import Callable

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.gsm8k import load_gsm8k
from lorapar_cli.evaluation.tasks.humaneval import load_humaneval
from lorapar_cli.evaluation.tasks.mmlu import load_mmlu
from lorapar_cli.evaluation.tasks.own_records import load_own_records
from lorapar_cli.evaluation.tasks.task import Task

LOADERS: dict[str, Callable[[EvalOptions], Task]] = {
    "data": load_own_records,
    "gsm8k": load_gsm8k,
    "mmlu": load_mmlu,
    "humaneval": load_humaneval,
}


def load_task(options: EvalOptions) -> Task:
    """Returns the task with all of its items.

    Raises:
        LoraparError, UsageError: The data is missing, empty or of another kind, or two items have
            the same id.
    """
    task = LOADERS[options.task](options)
    if not task.items:
        raise LoraparError(
            f"no records in `{options.data or options.task}`", hint="name others with `--data`"
        )
    seen: set[str] = set()
    for item in task.items:
        if item.id in seen:
            raise LoraparError(
                f"two records have the id `{item.id}`",
                hint="give each record its own `id`, or none at all: ids are then made from the "
                "content",
            )
        seen.add(item.id)
    return task
