"""What a task is: items with a prompt, a reference and the groups they are reported by."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lorapar_cli.errors import UsageError
from lorapar_cli.evaluation.options import EvalOptions, Match, TaskName
from lorapar_cli.grading.grade import Grade, grade
from lorapar_cli.grading.programs import Code
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.store.records import Message, Record

GroupKind = Literal["group", "steps", "subject", "system"]
Rule = Literal[Match, "likelihood", "code"]
"""How completions are graded; a task other than `data` has a rule of its own."""


_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class Item:
    """One question of a task.

    Attributes:
        id: Unique within the task.
        prompt: Text, or chat messages, for `models.rendering.tokenization.encode_prompt`.
        reference: What is correct: a final answer, a whole text or a letter; empty for code.
        reference_answers: All accepted answers where there are several, `reference` first; else
            empty.
        groups: Kind of group -> the group that the item is in.
        choices: Continuations whose likelihoods are compared; empty where text is generated.
        code: The tests, where the completion is a program.
        tools: Definitions of the tools that the model may call.
        question: What is asked, without examples and instructions; empty where it is the prompt.
    """

    id: str
    prompt: str | list[Message]
    reference: str
    groups: dict[GroupKind, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    code: Code | None = None
    tools: list[dict[str, Any]] | None = None
    reference_answers: tuple[str, ...] = ()
    question: str = ""

    @property
    def digest(self) -> str:
        """The beginning of the sha256 of what is asked, however it is asked."""
        asked = self.question or (self.code.prompt if self.code else self.prompt)
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_DIGEST_DIGITS]

    @property
    def text(self) -> str:
        """The prompt of a plain task, which is always text."""
        if not isinstance(self.prompt, str):
            raise AssertionError("chat messages need a template")
        return self.prompt


@dataclass(frozen=True)
class Task:
    """A task's items, and how they are completed and graded.

    Attributes:
        inputs: As `store.manifest.describe_inputs` returns.
        plain: Whether prompts are tokenized as they are, without a chat template.
        stop: Texts that end a completion.
        without_reference: Number of records excluded because they have no reference answer.
        num_fewshot: Examples before each question.
        questions, examples: Rows as published, for the harness's own task.
        shown: Of each question the examples that it is asked with; empty where none are.
        redrawn: Whether some of them are not what the harness would show: the question itself.
        records: Your own records, those without a reference answer among them.
    """

    name: TaskName
    match: Rule
    items: list[Item]
    inputs: dict[str, dict[str, str]]
    plain: bool = False
    stop: list[str] = field(default_factory=list)
    without_reference: int = 0
    num_fewshot: int = 0
    questions: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    shown: list[list[dict[str, Any]]] = field(default_factory=list)
    redrawn: bool = False
    records: list[Record] = field(default_factory=list)


def fewshot_source(options: EvalOptions, what: str) -> str | None:
    """Returns where the examples come from, None for the hub.

    Args:
        what: The file that has them, for the message.

    Raises:
        UsageError: The questions are local, and no examples are named.
    """
    if options.fewshot_data is None and options.data is not None:
        raise UsageError(
            f"no examples for `--task {options.task}` with your own data",
            hint=f"name them with `--fewshot-data` ({what}), or give `--num-fewshot 0`",
        )
    return options.fewshot_data


def grade_items(
    match: Rule, items: Sequence[Item], completions: list[str], sandbox: Sandbox | None = None
) -> list[Grade]:
    """Returns the grade of each item's completion."""
    programs = [item.code for item in items if item.code]
    references = [item.reference for item in items]
    others = [item.reference_answers[1:] for item in items]
    return grade(match, completions, references, programs or None, sandbox, others)
