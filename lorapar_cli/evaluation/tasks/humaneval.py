"""HumanEval: programs, judged by running their tests."""

from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task, TaskOptions
from lorapar_cli.grading.programs import Code

_HUMANEVAL_STOP = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]


_HUMANEVAL_ASK = (
    "Write a solution to the following problem and make sure that it passes the tests:\n"
    "```python\n{}\n```\n"
)


def load_humaneval(asked: TaskOptions) -> Task:
    source = PublishedRows(asked.data, "openai/openai_humaneval", None, "test")
    harness = asked.style == "harness"
    items = [
        Item(
            str(row["task_id"]),
            row["prompt"] if harness else _HUMANEVAL_ASK.format(row["prompt"]),
            "",
            code=Code(row["prompt"], row["entry_point"], row["test"]),
        )
        for row in source.read(("task_id", "prompt", "entry_point", "test"), asked.limit)
    ]
    stop = _HUMANEVAL_STOP if harness else []
    return Task("humaneval", "code", items, {"data": source.describe()}, harness, stop)
