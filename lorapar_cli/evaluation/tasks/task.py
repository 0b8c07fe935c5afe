"""What a task is: items with a prompt, what is right, and the groups they are reported by."""

from dataclasses import dataclass, field

from lorapar_cli.errors import UsageError
from lorapar_cli.grading.grade import Grade, grade
from lorapar_cli.grading.programs import Code
from lorapar_cli.store.records import Message


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
class TaskOptions:
    """What the user says about a task; field names are option names."""

    task: str = "data"
    data: str | None = None
    fewshot_data: str | None = None
    num_fewshot: int | None = None
    style: str = "trained"
    match: str = "answer"
    limit: int | None = None


def examples_source(asked: TaskOptions, what: str) -> str | None:
    """Returns the file of examples, None for the hub's; local questions need a local file."""
    if asked.fewshot_data is None and asked.data is not None:
        raise UsageError(
            f"no examples for `--task {asked.task}` with data of your own",
            hint=f"name them with `--fewshot-data` ({what}), or give `--num-fewshot 0`",
        )
    return asked.fewshot_data


def grade_items(
    match: str, items: list[Item], completions: list[str], sandbox: str | None = None
) -> list[Grade]:
    """Returns the grade of each item's completion."""
    programs = [item.code for item in items if item.code]
    references = [item.reference for item in items]
    return grade(match, completions, references, programs or None, sandbox)
