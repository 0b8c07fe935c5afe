"""What a teacher is, and the identity by which its answers are known again."""

import hashlib
import os
import re
from dataclasses import dataclass

STRUCTURED = ("json_schema", "json_object", "none")


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, as published on a date."""

    input: float
    output: float
    date: str | None = None

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Returns what so many tokens cost, in US dollars."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


@dataclass(frozen=True)
class Teacher:
    """One voter.

    Attributes:
        name: What the user calls it; the key in a record's `votes`.
        kind: `rule` (a function here), `api` (an OpenAI-compatible endpoint) or `hf` (a local
            transformers model in this process).
        model: What answers: a rule's name and version, the provider's model name, or a folder.
        key_env: Environment variable that holds the key; None for none.
        key_required: Whether the endpoint refuses requests without a key.
        structured: What the endpoint honours: `json_schema`, `json_object` or `none`.
        temperature: Sent with each request; None leaves it out.
        max_tokens: Most tokens of an answer, thinking included.
        revision: Digest of a local model's files, so that a model trained on is another one.
    """

    name: str
    kind: str
    model: str
    base_url: str | None = None
    key_env: str | None = None
    key_required: bool = True
    structured: str = "none"
    temperature: float | None = None
    max_tokens: int = 1024
    price: Price | None = None
    revision: str | None = None

    def key(self) -> str | None:
        """Returns the key from the environment, or None."""
        return os.environ.get(self.key_env, "").strip() or None if self.key_env else None

    def missing(self) -> str | None:
        """Returns what keeps this teacher from being asked, or None."""
        if self.kind == "api" and self.key_required and self.key() is None:
            return f"no key in `{self.key_env}`"
        if self.kind == "api" and not re.fullmatch(r"[!-~]*", self.key() or ""):
            return f"`{self.key_env}` holds characters that no key has"
        return None


def plain_identity(teacher: Teacher) -> str:
    """Returns a teacher's identity where no other of the run shares its model's name."""
    return teacher.model if teacher.revision is None else f"{teacher.model} {teacher.revision}"


def identities(teachers: list[Teacher]) -> list[str]:
    """Returns what stands for each teacher in its answers' keys: its model, and its revision.

    The address is no part of it: a moved server asks nothing again. Only where two teachers of one
    run share a model name do their own names tell them apart.
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
        prompt_digest: Digest of the prompt template and the student played; empty for rules.
        record_digest: Digest of the record's prompt and completion.
    """
    text = f"{identity}\n{prompt_digest}\n".encode() + record_digest
    return hashlib.blake2b(text, digest_size=16).hexdigest()
