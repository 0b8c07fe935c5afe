"""What is evaluated: items with a prompt, what is right, and the groups they are reported by.

Prompts come in two styles. `trained` is how the model was trained: the question through its chat
template. `harness` is the text that lm-evaluation-harness 0.4 gives a base model, character for
character, with its way of choosing examples.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorapar_cli.data.formats import source_label
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.grading.answers import extract_answer
from lorapar_cli.grading.latex import check_latex
from lorapar_cli.store.manifest import describe_inputs
from lorapar_cli.store.records import Message, Record, read_jsonl

TASKS = ("data", "gsm8k", "mmlu", "humaneval")
STYLES = ("trained", "harness")
MATCHES = ("answer", "latex", "exact", "choice")
# The harness's default seed of the examples.
_FEWSHOT_SEED = 1234
_GSM8K_STOP = ["Question:", "</s>", "<|im_end|>"]
_HUMANEVAL_STOP = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
_HUMANEVAL_ASK = (
    "Write a solution to the following problem and make sure that it passes the tests:\n"
    "```python\n{}\n```\n"
)


@dataclass(frozen=True)
class Code:
    """What judges a program: see `grading.sandbox.runner.Program`."""

    prompt: str
    entry_point: str
    test: str


@dataclass(frozen=True)
class Item:
    """One question of an evaluation.

    Attributes:
        id: Unique within the task.
        prompt: Text, or chat messages, for `models.tokenization.encode_prompt`.
        reference: What is right: a final answer, a whole text or a letter; empty for code.
        groups: Group kind (`system`, `steps`, `subject`, ...) -> the group that the item is in.
        choices: Continuations whose likelihoods are compared; empty where text is generated.
        code: The tests, where the completion is a program.
    """

    id: str
    prompt: str | list[Message]
    reference: str
    groups: dict[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    code: Code | None = None


@dataclass(frozen=True)
class Task:
    """An evaluation's items and how they are asked.

    Attributes:
        name: `data`, `gsm8k`, `mmlu` or `humaneval`.
        match: `answer`, `latex`, `exact`, `choice`, `likelihood` or `code`.
        inputs: As `store.manifest.describe_inputs` returns.
        plain: Whether prompts are tokenized as they stand, without any template.
        stop: Texts that end a completion.
        without_reference: Records that were left out, since nothing says what is right.
        shots: Examples before each question.
        questions, examples: Rows as published, where the harness asks too.
    """

    name: str
    match: str
    items: list[Item]
    inputs: dict[str, dict[str, str]]
    plain: bool = False
    stop: list[str] = field(default_factory=list)
    without_reference: int = 0
    shots: int = 0
    questions: list[dict] = field(default_factory=list)
    examples: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What the user says about a task; field names are option names."""

    task: str = "data"
    data: str | None = None
    fewshot_data: str | None = None
    num_fewshot: int | None = None
    style: str = "trained"
    match: str = "answer"
    limit: int | None = None


def load_task(asked: Asked) -> Task:
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
    makers = {"data": _own, "gsm8k": _gsm8k, "mmlu": _mmlu, "humaneval": _humaneval}
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


def _check_options(asked: Asked) -> None:
    """Refuses options that the task would silently ignore."""
    for name in ("style", "num_fewshot", "fewshot_data", "match"):
        default = Asked.__dataclass_fields__[name].default
        if getattr(asked, name) != default and name not in _OPTIONS[asked.task]:
            raise UsageError(
                f"`--task {asked.task}` has no `--{name.replace('_', '-')}`",
                f"`{getattr(asked, name)}`",
                "leave it out, or name another `--task`",
            )


def _own(asked: Asked) -> Task:
    if asked.data is None:
        raise UsageError("no records are named", hint="name them with `--data`")
    if asked.match == "latex":
        check_latex()
    source = open_source(asked.data, limit=asked.limit)
    records = list(source.records())
    kept = [record for record in records if _reference(record, asked.match) is not None]
    if records and not kept:
        raise LoraparError(
            f"no record in `{asked.data}` has a reference answer",
            f"{len(records)} records, for instance `{records[0].id}`",
            "an answer ends in `#### x`, `<answer>x</answer>` or `\\boxed{x}`, or stands in the "
            "field `reference_answer`",
        )
    items = [
        Item(record.id, record.prompt, str(_reference(record, asked.match)), _groups(record))
        for record in kept
    ]
    inputs = {"data": source.describe()}
    return Task("data", asked.match, items, inputs, without_reference=len(records) - len(kept))


def _reference(record: Record, match: str) -> str | None:
    return record.completion.strip() if match == "exact" else record.reference_answer


def _groups(record: Record) -> dict[str, str]:
    groups: dict[str, Any] = {
        "system": record.label or source_label(record),
        "steps": record.extra.get("steps"),
    }
    return {kind: str(value) for kind, value in groups.items() if value is not None}


def _examples_data(asked: Asked, what: str) -> str | None:
    """Returns the file of examples, None for the hub's; local questions need a local file."""
    if asked.fewshot_data is None and asked.data is not None:
        raise UsageError(
            f"no examples for `--task {asked.task}` with data of your own",
            hint=f"name them with `--fewshot-data` ({what}), or give `--num-fewshot 0`",
        )
    return asked.fewshot_data


def _gsm8k(asked: Asked) -> Task:
    harness = asked.style == "harness"
    shots = asked.num_fewshot if asked.num_fewshot is not None else (5 if harness else 0)
    fields = ("question", "answer")
    questions = PublishedRows(asked.data, "openai/gsm8k", "main", "test")
    inputs = {"data": questions.describe()}
    pool: list[dict] = []
    if shots:
        given = _examples_data(asked, "GSM8K's train.jsonl")
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


def _mmlu(asked: Asked) -> Task:
    shots = 5 if asked.num_fewshot is None else asked.num_fewshot
    questions, inputs = _mmlu_rows(asked.data, "test", asked.limit)
    pool: list[dict] = []
    own = asked.data is not None and asked.data == asked.fewshot_data
    if shots:
        published = asked.data is not None and Path(asked.data).is_dir()
        given = asked.data if published else _examples_data(asked, "MMLU's dev questions")
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


def _humaneval(asked: Asked) -> Task:
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
