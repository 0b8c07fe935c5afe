"""GSM8K: grade-school maths word problems, 1,319 in the test split.

Data: `openai/gsm8k` on the hub, subset `main`, or a file of its rows, for example

    {"question": "Natalia sold clips to 48 of her friends in April, ...",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\n...\\n#### 72"}

Prompt: style `trained` gives the question through the chat template, after examples as earlier turns
of the chat, by default none. Style `harness` gives lm-evaluation-harness 0.4's text, character for
character, after 5 examples by default that are drawn as the harness draws them, and again where the question
itself is among them. Metric: accuracy of
the final answer, by the flexible and by the strict rule (`grading.answers`); rows with `label` and
`steps` are also reported by system and number of steps.

Source: Cobbe et al., 2021, arXiv 2110.14168.
"""

import random
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.examples import others, question_form
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import GroupKind, Item, Task, fewshot_source
from lorapar_cli.grading.answers import extract_answer
from lorapar_cli.plurals import counted
from lorapar_cli.store.records import Message

_HUB_ID, _SUBSET = "openai/gsm8k", "main"
_FIELDS = ("question", "answer")
_HARNESS_FEWSHOT = 5
# The harness's default seed for drawing examples.
_FEWSHOT_SEED = 1234
_HARNESS_STOP = ["Question:", "</s>", "<|im_end|>"]

Rows = list[dict[str, Any]]


def load_gsm8k(options: EvalOptions) -> Task:
    """Returns the task in the style that the options name.

    Raises:
        LoraparError, UsageError: A row has no question or no final answer, or there are too few
            examples.
    """
    harness = options.style == "harness"
    shots = options.num_fewshot
    if shots is None:
        shots = _HARNESS_FEWSHOT if harness else 0
    questions = PublishedRows(options.data, _HUB_ID, _SUBSET, "test")
    inputs = {"data": questions.describe()}
    pool: Rows = []
    if shots:
        source = fewshot_source(options, "GSM8K's train.jsonl")
        examples = PublishedRows(source, _HUB_ID, _SUBSET, "train")
        inputs["fewshot"] = examples.describe()
        pool = list(examples.read(_FIELDS))
        if len(pool) < shots:
            raise LoraparError(
                f"`{examples.name}` has {counted(len(pool), 'example')}, not {shots}"
            )
    items, rows = [], list(questions.read(_FIELDS, options.limit))
    shown, redrawn = _draw_examples(rows, pool, shots)
    for number, (row, own) in enumerate(zip(rows, shown, strict=True)):
        prompt = _to_text(row, own) if harness else _to_messages(row, own)
        reference = extract_answer(row["answer"]) if isinstance(row["answer"], str) else None
        if reference is None:
            raise LoraparError(f"record {number + 1} of `{questions.name}` has no final answer")
        asked = row["question"]
        identity = str(row.get("id", number))
        items.append(Item(identity, prompt, reference, _groups(row), question=asked))
    return Task(
        "gsm8k",
        "answer",
        items,
        inputs,
        plain=harness,
        stop=_HARNESS_STOP if harness else [],
        num_fewshot=shots,
        questions=rows,
        examples=pool,
        shown=shown,
        redrawn=redrawn,
    )


def _draw_examples(rows: Rows, pool: Rows, shots: int) -> tuple[list[Rows], bool]:
    """Returns each question's examples, drawn as the harness draws them, and whether some differ.

    Where the question itself is drawn, all of its examples are drawn again from the others, without
    a change to the draws of other questions.

    Raises:
        LoraparError: Too few are left.
    """
    if not shots:
        return [[] for _ in rows], False
    forms = [question_form(str(example["question"])) for example in pool]
    generator = random.Random(_FEWSHOT_SEED)
    drawn, redrawn = [], False
    for number, row in enumerate(rows):
        numbers = generator.sample(range(len(pool)), shots)
        question = question_form(str(row["question"]))
        if any(forms[each] == question for each in numbers):
            usable = others(forms, question)
            if len(usable) < shots:
                raise LoraparError(
                    f"record {number + 1} of gsm8k has {counted(len(usable), 'example')} besides itself, not "
                    f"{shots}",
                    str(row["question"]),
                    "give fewer with `--num-fewshot`, or others with `--fewshot-data`",
                )
            redrawn = True
            numbers = random.Random(f"{_FEWSHOT_SEED} {number}").sample(usable, shots)
        drawn.append([pool[each] for each in numbers])
    return drawn, redrawn


def _groups(row: dict[str, Any]) -> dict[GroupKind, str]:
    fields: dict[GroupKind, str] = {"system": "label", "steps": "steps"}
    return {kind: str(row[key]) for kind, key in fields.items() if row.get(key) is not None}


def _to_text(row: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    shown = "".join(f"Question: {e['question']}\nAnswer: {e['answer']}\n\n" for e in examples)
    return f"{shown}Question: {row['question']}\nAnswer:"


def _to_messages(row: dict[str, Any], examples: list[dict[str, Any]]) -> str | list[Message]:
    if not examples:
        return row["question"]
    turns = [
        {"role": role, "content": example[key]}
        for example in examples
        for role, key in (("user", "question"), ("assistant", "answer"))
    ]
    return [*turns, {"role": "user", "content": row["question"]}]
