"""MMLU: four choices, compared by likelihood."""

import json
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task, TaskOptions, examples_source
from lorapar_cli.store.manifest import describe_inputs


def load_mmlu(asked: TaskOptions) -> Task:
    shots = 5 if asked.num_fewshot is None else asked.num_fewshot
    questions, inputs = _mmlu_rows(asked.data, "test", asked.limit)
    pool: list[dict] = []
    own = asked.data is not None and asked.data == asked.fewshot_data
    if shots:
        published = asked.data is not None and Path(asked.data).is_dir()
        given = asked.data if published else examples_source(asked, "MMLU's dev questions")
        pool, described = _mmlu_rows(given, "dev", None)
        inputs |= {f"fewshot/{name}": value for name, value in described.items()}
    examples: dict[str, list[dict]] = {}
    for row in pool:
        examples.setdefault(row["subject"], []).append(row)
    items = []
    for number, row in enumerate(questions):
        subject = row["subject"]
        # Only where questions are their own examples can one be shown its answer.
        shown = [e for e in examples.get(subject, []) if not own or e != row][:shots]
        if len(shown) < shots:
            raise LoraparError(f"MMLU subject `{subject}` has {len(shown)} examples, not {shots}")
        text = "".join(f"{mmlu.describe_question(e)} {mmlu.answer_letter(e)}\n\n" for e in shown)
        groups = {"subject": subject, "group": mmlu.GROUP_OF.get(subject, "other")}
        items.append(
            Item(
                f"{subject}/{number}",
                mmlu.describe_task(subject) + text + mmlu.describe_question(row),
                mmlu.answer_letter(row),
                groups,
                choices=tuple(f" {letter}" for letter in mmlu.LETTERS),
            )
        )
    return Task(
        "mmlu",
        "likelihood",
        items,
        inputs,
        plain=True,
        shots=shots,
        questions=questions,
        examples=pool,
    )


def _mmlu_rows(
    given: str | None, split: str, limit: int | None
) -> tuple[list[dict], dict[str, dict[str, str]]]:
    if given is not None and Path(given).is_dir() and (Path(given) / split).is_dir():
        folder = Path(given)
        rows = list(mmlu.read_published(folder, split))[:limit]
        files = {f"{split}/{p.name}": p for p in sorted((folder / split).glob("*.csv"))}
        return rows, describe_inputs(files)
    source = PublishedRows(given, "cais/mmlu", "all", split)
    rows = list(source.read(("subject", "question", "choices", "answer"), limit))
    for row in rows:
        if isinstance(row["choices"], str):
            row["choices"] = json.loads(row["choices"])
    return rows, {"data": source.describe()}
