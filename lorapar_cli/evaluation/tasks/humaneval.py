"""HumanEval: 164 Python functions to complete.

Data: `openai/openai_humaneval` on the hub, or a file of its rows (also `.jsonl.gz`), for example

    {"task_id": "HumanEval/53", "entry_point": "add",
     "prompt": "\\n\\ndef add(x: int, y: int):\\n    \\"\\"\\"Add two numbers x and y ...",
     "test": "def check(candidate):\\n    assert candidate(0, 1) == 1 ..."}

Prompt: style `trained` asks for the function through the chat template; style `harness` gives the
beginning of the function as it is. Metric: the share of programs that pass their tests, run in a
sandbox (`grading.sandbox`); the same by the plain rule, the completion behind the prompt as it is;
pass@k with several samples.

Source: Chen et al., 2021, arXiv 2107.03374.
"""

from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task
from lorapar_cli.grading.program_tests import check_tests
from lorapar_cli.grading.programs import Code

_HUB_ID = "openai/openai_humaneval"
_FIELDS = ("task_id", "prompt", "entry_point", "test")
_HARNESS_STOP = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
_INSTRUCTION = (
    "Write a solution to the following problem and make sure that it passes the tests:\n"
    "```python\n{}\n```\n"
)


def load_humaneval(options: EvalOptions) -> Task:
    """Returns the task in the style that the options name.

    Raises:
        LoraparError: A row lacks a field, or has tests that test nothing.
    """
    source = PublishedRows(options.data, _HUB_ID, None, "test")
    harness = options.style == "harness"
    items = [
        Item(
            str(row["task_id"]),
            row["prompt"] if harness else _INSTRUCTION.format(row["prompt"]),
            "",
            code=Code(row["prompt"], row["entry_point"], row["test"]),
        )
        for row in source.read(_FIELDS, options.limit)
    ]
    for item in items:
        if item.code is not None:
            check_tests(item.code, f"`{item.id}`")
    return Task(
        "humaneval",
        "code",
        items,
        {"data": source.describe()},
        plain=harness,
        stop=_HARNESS_STOP if harness else [],
    )
