"""GSM8K: grade-school maths, answers are numbers."""

import random

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.evaluation.tasks.task import Item, Task, TaskOptions, examples_source
from lorapar_cli.grading.answers import extract_answer
from lorapar_cli.store.records import Message

# The harness's default seed of the examples.
_FEWSHOT_SEED = 1234


_GSM8K_STOP = ["Question:", "</s>", "<|im_end|>"]


def load_gsm8k(asked: TaskOptions) -> Task:
    harness = asked.style == "harness"
    shots = asked.num_fewshot if asked.num_fewshot is not None else (5 if harness else 0)
    fields = ("question", "answer")
    questions = PublishedRows(asked.data, "openai/gsm8k", "main", "test")
    inputs = {"data": questions.describe()}
    pool: list[dict] = []
    if shots:
        given = examples_source(asked, "GSM8K's train.jsonl")
        examples = PublishedRows(given, "openai/gsm8k", "main", "train")
        inputs["fewshot"] = examples.describe()
        pool = list(examples.read(fields))
        if len(pool) < shots:
            raise LoraparError(f"`{examples.name}` has {len(pool)} examples, not {shots}")
    chance = random.Random(_FEWSHOT_SEED)
    items, rows = [], list(questions.read(fields, asked.limit))
    for number, row in enumerate(rows):
        shown = chance.sample(pool, shots) if shots else []
        prompt = _gsm8k_text(row, shown) if harness else _gsm8k_messages(row, shown)
        reference = extract_answer(row["answer"]) if isinstance(row["answer"], str) else None
        if reference is None:
            raise LoraparError(f"record {number + 1} of `{questions.name}` has no final answer")
        groups = {
            kind: str(row[key])
            for kind, key in (("system", "label"), ("steps", "steps"))
            if row.get(key) is not None
        }
        items.append(Item(str(row.get("id", number)), prompt, reference, groups))
    stop = _GSM8K_STOP if harness else []
    return Task(
        "gsm8k",
        "answer",
        items,
        inputs,
        plain=harness,
        stop=stop,
        shots=shots,
        questions=rows,
        examples=pool,
    )


def _gsm8k_text(row: dict, examples: list[dict]) -> str:
    shown = "".join(f"Question: {e['question']}\nAnswer: {e['answer']}\n\n" for e in examples)
    return f"{shown}Question: {row['question']}\nAnswer:"


def _gsm8k_messages(row: dict, examples: list[dict]) -> str | list[Message]:
    if not examples:
        return row["question"]
    turns = [
        {"role": role, "content": example[key]}
        for example in examples
        for role, key in (("user", "question"), ("assistant", "answer"))
    ]
    return [*turns, {"role": "user", "content": row["question"]}]
