"""What is evaluated: items with a prompt, what is right, and the groups they are reported by.

Prompts come in two styles. `trained` is how the model was trained: the question through its chat
template. `harness` is the text that lm-evaluation-harness 0.4 gives a base model, character for
character, with its way of choosing examples.
"""

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.tasks.gsm8k import load_gsm8k
from lorapar_cli.evaluation.tasks.humaneval import load_humaneval
from lorapar_cli.evaluation.tasks.mmlu import load_mmlu
from lorapar_cli.evaluation.tasks.own_records import load_own_records
from lorapar_cli.evaluation.tasks.task import Task, TaskOptions

TASKS = ("data", "gsm8k", "mmlu", "humaneval")
STYLES = ("trained", "harness")
MATCHES = ("answer", "latex", "exact", "choice")


def load_task(asked: TaskOptions) -> Task:
    """Returns the task with all of its items.

    Raises:
        LoraparError, UsageError: Unknown names, or data that is missing, empty or of another kind.
    """
    for value, valid, option in (
        (asked.task, TASKS, "--task"),
        (asked.style, STYLES, "--style"),
        (asked.match, MATCHES, "--match"),
    ):
        if value not in valid:
            raise UsageError(
                f"`{option}` knows no `{value}`{nearest(value, list(valid))}",
                hint=f"known: {', '.join(valid)}",
            )
    _check_options(asked)
    makers = {
        "data": load_own_records,
        "gsm8k": load_gsm8k,
        "mmlu": load_mmlu,
        "humaneval": load_humaneval,
    }
    task = makers[asked.task](asked)
    if not task.items:
        raise LoraparError(
            f"no records in `{asked.data or asked.task}`", hint="name others with `--data`"
        )
    seen: set[str] = set()
    for item in task.items:
        if item.id in seen:
            raise LoraparError(
                f"two records have the id `{item.id}`",
                hint="give every record its own `id`, or none: then ids are made from the content",
            )
        seen.add(item.id)
    return task


# Which of the options that not every task has each task has.
_OPTIONS = {
    "data": {"match"},
    "gsm8k": {"style", "num_fewshot", "fewshot_data"},
    "mmlu": {"num_fewshot", "fewshot_data"},
    "humaneval": {"style"},
}


def _check_options(asked: TaskOptions) -> None:
    """Refuses options that the task would silently ignore."""
    for name in ("style", "num_fewshot", "fewshot_data", "match"):
        default = TaskOptions.__dataclass_fields__[name].default
        if getattr(asked, name) != default and name not in _OPTIONS[asked.task]:
            raise UsageError(
                f"`--task {asked.task}` has no `--{name.replace('_', '-')}`",
                f"`{getattr(asked, name)}`",
                "leave it out, or name another `--task`",
            )
