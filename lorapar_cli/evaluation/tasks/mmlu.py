"""MMLU: multiple-choice questions on 57 subjects, 14,042 in the test split.

Data: `cais/mmlu` on the hub, the published folder of CSV files, or a file of rows, for example

    {"subject": "anatomy", "question": "Which of these is a bone?",
     "choices": ["femur", "liver", "retina", "aorta"], "answer": 0}

Prompt: lm-evaluation-harness's text, after the subject's first 5 development questions by default.
Metric: accuracy of the likeliest of the continuations ` A` to ` D`, over all questions, by subject and
group of subjects, and as the mean of the subjects.

Source: Hendrycks et al., 2021, arXiv 2009.03300.
"""

import json
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task, fewshot_source
from lorapar_cli.store.reuse import describe_inputs

_HUB_ID, _SUBSET = "cais/mmlu", "all"
_FIELDS = ("subject", "question", "choices", "answer")
_FEWSHOT = 5
_CHOICES = tuple(f" {letter}" for letter in mmlu.LETTERS)

Rows = list[dict[str, Any]]


def load_mmlu(options: EvalOptions) -> Task:
    """Returns the task.

    Raises:
        LoraparError, UsageError: A row lacks a field, or a subject has too few examples.
    """
    shots = _FEWSHOT if options.num_fewshot is None else options.num_fewshot
    questions, inputs = _read_rows(options.data, "test", options.limit)
    pool: Rows = []
    if shots:
        published = options.data is not None and Path(options.data).is_dir()
        source = options.data if published else fewshot_source(options, "MMLU's dev questions")
        pool, described = _read_rows(source, "dev", None)
        inputs |= {f"fewshot/{name}": value for name, value in described.items()}
    examples: dict[str, Rows] = {}
    for row in pool:
        examples.setdefault(row["subject"], []).append(row)
    # Only where questions are their own examples can one be shown with its answer.
    own = options.data is not None and options.data == options.fewshot_data
    items = []
    for number, row in enumerate(questions):
        subject = row["subject"]
        shown = [e for e in examples.get(subject, []) if not own or e != row][:shots]
        if len(shown) < shots:
            raise LoraparError(f"MMLU subject `{subject}` has {len(shown)} examples, not {shots}")
        items.append(_to_item(f"{subject}/{number}", row, shown))
    return Task(
        "mmlu",
        "likelihood",
        items,
        inputs,
        plain=True,
        num_fewshot=shots,
        questions=questions,
        examples=pool,
    )


def _to_item(identity: str, row: dict[str, Any], examples: Rows) -> Item:
    subject = row["subject"]
    shown = "".join(f"{mmlu.describe_question(e)} {mmlu.answer_letter(e)}\n\n" for e in examples)
    return Item(
        identity,
        mmlu.describe_task(subject) + shown + mmlu.describe_question(row),
        mmlu.answer_letter(row),
        {"subject": subject, "group": mmlu.GROUP_OF.get(subject, "other")},
        choices=_CHOICES,
    )


def _read_rows(
    source: str | None, split: str, limit: int | None
) -> tuple[Rows, dict[str, dict[str, str]]]:
    """Returns a split's rows and a description of the files or data set they came from."""
    if source is not None and (Path(source) / split).is_dir():
        folder = Path(source)
        rows = list(mmlu.read_published(folder, split))[:limit]
        files = {f"{split}/{p.name}": p for p in sorted((folder / split).glob("*.csv"))}
        return rows, describe_inputs(files)
    published = PublishedRows(source, _HUB_ID, _SUBSET, split)
    rows = list(published.read(_FIELDS, limit))
    for row in rows:
        if isinstance(row["choices"], str):
            row["choices"] = json.loads(row["choices"])
    return rows, {"data": published.describe()}
