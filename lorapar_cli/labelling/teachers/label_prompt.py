"""The prompt that asks a teacher for a record's label, from a template that the user can replace.

A template is a text file. A line of three dashes separates the system message from the user
message; without one, the whole text is the user message. The placeholders `{{question}}` and
`{{answer}}` are required, `{{student}}` and `{{description}}` optional.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.teachers.rules import prompt_text
from lorapar_cli.store.disk.small_text import read_small_text
from lorapar_cli.store.records import Message, Record

_FOLDER = Path(__file__).parent
ROLE_PLAY = _FOLDER / "label_prompt.txt"
PLAIN = _FOLDER / "label_prompt_plain.txt"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS = 60
_PLACEHOLDERS = {"student", "description", "question", "answer"}
NAMELESS_STUDENT = "a small language model"

# Appended if the first answer named no system or both.
SECOND_ATTEMPT = (
    "\n\nYour last answer to this named no label, or more than one. "
    "Reply with one word: System1 or System2."
)

SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "label": {"type": "string", "enum": ["System1", "System2"]},
    },
    "required": ["reason", "label"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class LabelPrompt:
    """A template with the student filled in.

    Attributes:
        digest: Identifies template, student and description: what an answer depends on besides
            the teacher and the record.
    """

    system: str
    user: str
    digest: str

    def messages(self, record: Record, second_attempt: bool = False) -> list[Message]:
        """Returns the chat that asks for this record's label."""
        values = {"question": prompt_text(record), "answer": record.completion}
        system, user = _fill(self.system, values), _fill(self.user, values)
        if second_attempt:
            user += SECOND_ATTEMPT
        asked = [{"role": "user", "content": user}]
        return [{"role": "system", "content": system}, *asked] if system else asked


def read_prompt(
    path: Path | None, *, role_play: bool, student: str | None, description: str | None
) -> LabelPrompt:
    """Returns the prompt of a template file, by default the built-in one.

    Raises:
        LoraparError: The file cannot be read, lacks a placeholder or has an unknown one.
        UsageError: The student's name or description holds what cannot be sent.
    """
    path = path or (ROLE_PLAY if role_play else PLAIN)
    text = read_small_text(path)
    found = set(_PLACEHOLDER.findall(text))
    unknown, missing = sorted(found - _PLACEHOLDERS), sorted({"question", "answer"} - found)
    if unknown or missing:
        problem = "has an unknown placeholder" if unknown else "lacks the placeholder"
        raise LoraparError(
            f"prompt template `{path}` {problem} "
            f"`{{{{{(unknown or missing)[0][:_SHOWN_CHARACTERS]}}}}}`",
            hint="required: {{question}}, {{answer}}; optional: {{student}}, {{description}}",
        )
    known = {
        "student": student or NAMELESS_STUDENT,
        "description": f"{description.strip()} " if description else "",
    }
    if any(not value.isascii() and _SURROGATE.search(value) for value in known.values()):
        raise UsageError("the student's name or description is not UTF-8 text")
    filled = _fill(text, known)
    head, line, tail = filled.partition("\n---\n")
    system, user = (head, tail) if line else ("", filled)
    digest = hashlib.sha256(filled.encode()).hexdigest()
    return LabelPrompt(system.strip(), user.strip(), digest)


def _fill(template: str, values: dict[str, str]) -> str:
    """Fills placeholders in one pass, so that inserted text is never read as a placeholder."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)
