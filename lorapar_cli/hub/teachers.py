"""Teachers: found by name, and what their answers depend on."""

import hashlib
from dataclasses import dataclass

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.hub.rules import RULES


@dataclass(frozen=True)
class Teacher:
    """One voter.

    Attributes:
        name: What the user calls it; the key in a record's `votes`.
        model: What answers; a rule's name and version, or the provider's model name.
    """

    name: str
    model: str

    @property
    def is_rule(self) -> bool:
        """Whether it is a function in this package, which costs nothing to ask."""
        return self.name in RULES


def find_teachers(names: list[str]) -> list[Teacher]:
    """Returns the teachers of these names, in their order.

    Raises:
        UsageError: A name is unknown; the message lists what there is.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise UsageError(
            f"unknown teacher `{unknown[0]}`{nearest(unknown[0], list(RULES))}",
            hint=f"teachers: {', '.join(RULES)}",
        )
    return [Teacher(name, f"{name}/{RULES[name][0]}") for name in names]


def answer_key(teacher: Teacher, prompt_digest: str, record_digest: bytes) -> str:
    """Returns the 32 hex digits under which the teacher's answer on a record is journaled.

    Args:
        prompt_digest: Digest of the prompt template and the student played; empty for rules.
        record_digest: Digest of the record's prompt and completion.
    """
    text = f"{teacher.model}\n{prompt_digest}\n".encode() + record_digest
    return hashlib.blake2b(text, digest_size=16).hexdigest()
