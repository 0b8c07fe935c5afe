"""MMLU: multiple-choice questions on 57 subjects, 14,042 in the test split.

Data: `cais/mmlu` on the hub, the published folder of CSV files, or a file of rows, for example

    {"subject": "anatomy", "question": "Which of these is a bone?",
     "choices": ["femur", "liver", "retina", "aorta"], "answer": 0}

Prompt: lm-evaluation-harness's text, after the subject's first 5 development questions by default;
one that is the question itself is passed over. `--limit N` asks the first N of each subject.
Metric: accuracy of the likeliest of the continuations ` A` to ` D`, over all questions, by subject and
group of subjects, and as the mean of the subjects.

Source: Hendrycks et al., 2021, arXiv 2009.03300.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.examples import others, question_form
from lorapar_cli.evaluation.tasks.mmlu_csv import read_published
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task, fewshot_source
from lorapar_cli.plurals import counted
from lorapar_cli.store.reuse import describe_inputs

_HUB_ID, _SUBSET = "cais/mmlu", "all"
_FIELDS = ("subject", "question", "answer")
_FEWSHOT = 5
_CHOICES = tuple(f" {letter}" for letter in mmlu.LETTERS)

Rows = list[dict[str, Any]]


def load_mmlu(options: EvalOptions) -> Task:
    """Returns the task.

    Raises:
        LoraparError, UsageError: A row lacks a field, or a subject has too few examples.
    """
    shots = _FEWSHOT if options.num_fewshot is None else options.num_fewshot
    rows, inputs = _read_rows(options.data, "test")
    pool: Rows = []
    if shots:
        published = options.data is not None and Path(options.data).is_dir()
        source = options.data if published else fewshot_source(options, "MMLU's dev questions")
        pool, described = _read_rows(source, "dev")
        inputs |= {f"fewshot/{name}": value for name, value in described.items()}
    asked = _limit_subjects(rows, options.limit)
    shown, redrawn = _choose_examples([row for _, row in asked], pool, shots)
    return Task(
        "mmlu",
        "likelihood",
        [
            _to_item(f"{row['subject']}/{number}", row, examples)
            for (number, row), examples in zip(asked, shown, strict=True)
        ],
        inputs,
        plain=True,
        num_fewshot=shots,
        questions=[row for _, row in asked],
        examples=pool,
        shown=shown,
        redrawn=redrawn,
    )


def _limit_subjects(rows: Rows, limit: int | None) -> list[tuple[int, dict[str, Any]]]:
    """Returns the first rows of each subject, and the number of each among all rows."""
    seen: Counter[str] = Counter()
    kept = []
    for number, row in enumerate(rows):
        seen[row["subject"]] += 1
        if limit is None or seen[row["subject"]] <= limit:
            kept.append((number, row))
    return kept


def _choose_examples(questions: Rows, pool: Rows, shots: int) -> tuple[list[Rows], bool]:
    """Returns each question's examples, the first of its subject, and whether some were itself.

    Those that are the question itself are passed over.

    Raises:
        LoraparError: A subject has too few.
    """
    if not shots:
        return [[] for _ in questions], False
    examples: dict[str, Rows] = {}
    for row in pool:
        examples.setdefault(row["subject"], []).append(row)
    forms = {subject: list(map(_form, own)) for subject, own in examples.items()}
    chosen, redrawn = [], False
    for row in questions:
        subject = row["subject"]
        usable = others(forms.get(subject, []), _form(row))
        if len(usable) < shots:
            all_of_them = len(examples.get(subject, []))
            besides = " besides the question itself" if len(usable) < all_of_them else ""
            raise LoraparError(
                f"MMLU subject `{subject}` has {counted(len(usable), 'example')}{besides}, not {shots}",
                hint="give fewer with `--num-fewshot`, or others with `--fewshot-data`",
            )
        redrawn = redrawn or usable[:shots] != list(range(shots))
        chosen.append([examples[subject][number] for number in usable[:shots]])
    return chosen, redrawn


def _form(row: dict[str, Any]) -> str:
    return question_form(row["question"], row["choices"])


def _to_item(identity: str, row: dict[str, Any], examples: Rows) -> Item:
    subject = row["subject"]
    shown = "".join(f"{mmlu.describe_question(e)} {mmlu.answer_letter(e)}\n\n" for e in examples)
    return Item(
        identity,
        mmlu.describe_task(subject) + shown + mmlu.describe_question(row),
        mmlu.answer_letter(row),
        {"subject": subject, "group": mmlu.GROUP_OF.get(subject, "other")},
        choices=_CHOICES,
        question=mmlu.describe_question(row),
    )


def _read_rows(source: str | None, split: str) -> tuple[Rows, dict[str, dict[str, str]]]:
    """Returns a split's rows and a description of the files or data set they came from."""
    if source is not None and (Path(source) / split).is_dir():
        folder = Path(source)
        rows = list(read_published(folder, split))
        files = {f"{split}/{p.name}": p for p in sorted((folder / split).glob("*.csv"))}
        return rows, describe_inputs(files)
    published = PublishedRows(source, _HUB_ID, _SUBSET, split)
    rows = [mmlu.checked_row(row, place) for place, row in published.placed(_FIELDS)]
    return rows, {"data": published.describe()}
