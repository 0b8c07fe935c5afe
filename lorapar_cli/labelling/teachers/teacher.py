"""What a teacher is, and the identity under which its answers are journaled."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from lorapar_cli.errors import UsageError
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments

Kind = Literal["rule", "api", "hf", "student"]
Structured = Literal["json_schema", "json_object", "none"]
STRUCTURED: tuple[Structured, ...] = get_args(Structured)


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, as published on a date."""

    input: float
    output: float
    date: str | None = None

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Returns the cost of these tokens in US dollars."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


@dataclass(frozen=True)
class Teacher:
    """One voter.

    Attributes:
        name: Its key in a record's `votes`, chosen by the user.
        kind: `rule` (a function here), `api` (an OpenAI-compatible endpoint), `hf` (a local
            transformers model in this process) or `student` (the base model's own probabilities).
        model: A rule's name and version, the provider's model name, or a folder.
        key_env: Environment variable that holds the API key; None if no key is needed.
        key_required: Whether the endpoint rejects requests without a key.
        structured: The kind of structured output that the endpoint supports.
        temperature: Sent with each request; None omits it.
        max_tokens: Maximum number of tokens of an answer, thinking included.
        revision: Digest of a local model's files, which changes when the model is trained; of the
            student also what is computed, and of both the arguments of its chat template.
        template_args: Arguments of a local model's chat template, as KEY=VALUE.
    """

    name: str
    kind: Kind
    model: str
    base_url: str | None = None
    key_env: str | None = None
    key_required: bool = True
    structured: Structured = "none"
    temperature: float | None = None
    max_tokens: int = 1024
    price: Price | None = None
    revision: str | None = None
    template_args: tuple[str, ...] = ()

    @property
    def reads_prompt(self) -> bool:
        """Whether it is asked with the prompt template, in words."""
        return self.kind in ("api", "hf")

    @property
    def local(self) -> bool:
        """Whether it is a model that is loaded into this process."""
        return self.kind in ("hf", "student")

    def key(self) -> str | None:
        """Returns the key from the environment, or None."""
        return os.environ.get(self.key_env, "").strip() or None if self.key_env else None

    def missing(self) -> str | None:
        """Returns why this teacher cannot be asked, or None."""
        if self.kind == "api" and self.key_required and self.key() is None:
            return f"no key in `{self.key_env}`"
        if self.kind == "api" and not re.fullmatch(r"[!-~]*", self.key() or ""):
            return f"`{self.key_env}` contains characters that no API key has"
        return None


def plain_identity(teacher: Teacher) -> str:
    """Returns a teacher's identity where no other teacher of the run uses the same model."""
    return teacher.model if teacher.revision is None else f"{teacher.model} {teacher.revision}"


def with_template_arguments(teachers: list[Teacher], given: Sequence[str]) -> list[Teacher]:
    """Returns the teachers, local ones with the arguments of their chat templates.

    Args:
        given: As KEY=VALUE.

    Raises:
        UsageError: One is not valid, or no teacher is local.
    """
    if not given:
        return teachers
    arguments = tuple(ChatTemplate(None, read_arguments(given)).given)
    if not any(teacher.local for teacher in teachers):
        raise UsageError(
            "`--template-arg` is for local teachers, and none is named",
            ", ".join(teacher.name for teacher in teachers) or "no teachers",
            "endpoints render their own templates; omit it, or add `student` or `hf:PATH`",
        )
    return [
        replace(
            teacher,
            template_args=arguments,
            revision=" ".join(filter(None, (teacher.revision, *arguments))),
        )
        if teacher.local
        else teacher
        for teacher in teachers
    ]


def identities(teachers: list[Teacher]) -> list[str]:
    """Returns what identifies each teacher in its answers' keys: its model and its revision.

    The address is not part of it, so that nothing is asked again after a server has moved. Only
    teachers of one run that use the same model are distinguished by their own names.
    """
    models = [plain_identity(teacher) for teacher in teachers]
    return [
        f"{model} {teacher.name}" if models.count(model) > 1 else model
        for model, teacher in zip(models, teachers, strict=True)
    ]


def answer_key(identity: str, prompt_digest: str, record_digest: bytes) -> str:
    """Returns the 32 hex digits under which a teacher's answer on a record is journaled.

    Args:
        identity: The teacher's, from `identities`.
        prompt_digest: Digest of the prompt template with the student filled in; empty for rules.
        record_digest: Digest of the record's prompt and completion.
    """
    text = f"{identity}\n{prompt_digest}\n".encode() + record_digest
    return hashlib.blake2b(text, digest_size=16).hexdigest()
