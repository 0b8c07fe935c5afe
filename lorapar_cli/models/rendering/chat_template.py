"""Chat templates: those that a user brings as a file, and the arguments that a user gives to one."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.models.rendering.clock import CLOCK, DAY, read_day, reads_clock, stopped_at
from lorapar_cli.store.disk.regular_files import read_text

# Those of published models have up to some tens of thousands.
_MOST_CHARACTERS = 1_000_000

Argument = bool | int | float | str | None
# As texts they would all be true.
_PYTHON: dict[str, Argument] = {"True": True, "False": False, "None": None}
# What every rendering sets itself.
_TAKEN = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")


@dataclass(frozen=True)
class ChatTemplate:
    """How a stage renders conversations.

    Attributes:
        text: Jinja text in place of the model's own template; None keeps that.
        arguments: Variables of the template and their values, such as `enable_thinking`; the value
            of `strftime_now` is the day that the template takes for today.
        defaults: Whether whoever renders may still give those variables other values, and lets the
            template read the clock.
    """

    text: str | None = None
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    defaults: bool = False

    @property
    def given(self) -> list[str]:
        """The arguments as KEY=VALUE, which `read_arguments` reads to the same values."""
        return [f"{name}={json.dumps(value)}" for name, value in self.arguments.items()]

    @property
    def day(self) -> date:
        """The day that a template which reads the clock takes for today."""
        return read_day(self.arguments.get(CLOCK, DAY))

    def complete(self, own: str | None) -> str | None:
        """Returns the template to render with, None where there is none.

        Arguments become the first line of the text, so that whoever renders it, a trainer or an
        inference engine too, uses the same values. So does the date of a template that reads the
        clock.

        Args:
            own: The model's own template.

        Raises:
            UsageError: There is no template to take the arguments, or it does not read one of them.
        """
        text = own if self.text is None else self.text
        if text is None:
            if not self.arguments:
                return None
            raise UsageError(
                "the model has no chat template that takes `--template-arg`",
                hint="give one with `--template`, or omit the arguments",
            )
        known = sorted(set(re.findall(r"[A-Za-z_]\w*", text)))
        for name in self.arguments:
            if name not in known:
                raise UsageError(
                    f"the chat template does not read `{name}`" + nearest(name, known),
                    hint="omit this `--template-arg`",
                )
        values = "".join(
            self._set(name, value) for name, value in self.arguments.items() if name != CLOCK
        )
        if reads_clock(text) and not self.defaults:
            values += stopped_at(self.day)
        # The newline after a block is never part of the output.
        return f"{values}\n{text}" if values else text

    def _set(self, name: str, value: Argument) -> str:
        given = f"{name} if {name} is defined else " if self.defaults else ""
        return f"{{% set {name} = {given}{_to_jinja(value)} %}}"


def _to_jinja(value: Argument) -> str:
    # Jinja knows `true`, `false` and `none`; numbers and strings are written as JSON writes them.
    return "none" if value is None else json.dumps(value)


def read_arguments(given: Sequence[str]) -> dict[str, Argument]:
    """Returns the arguments of `--template-arg KEY=VALUE`, sorted by name.

    A value is JSON's `true`, `false`, `null`, which may be written as in Python, a number or a quoted
    string, else text as it stands.

    Raises:
        UsageError: One has no `=`, names no variable, or names one twice or one that is taken, or
            the value of `strftime_now` is not a date.
    """
    arguments: dict[str, Argument] = {}
    for one in given:
        name, separator, text = one.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise UsageError(
                f"`--template-arg {one}` is not KEY=VALUE", hint="such as `enable_thinking=false`"
            )
        if name in _TAKEN:
            raise UsageError(f"`--template-arg {name}` is set by lorapar itself")
        if name in arguments:
            raise UsageError(f"`--template-arg {name}` is given twice")
        arguments[name] = _read_value(text)
        if name == CLOCK:
            read_day(arguments[name])
    return dict(sorted(arguments.items()))


def _read_value(text: str) -> Argument:
    if text in _PYTHON:
        return _PYTHON[text]
    try:
        value = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
    # A number that JSON allows and a float cannot hold is infinite.
    if isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        return text
    return value


def read_template(path: Path | None) -> str | None:
    """Returns the text of a Jinja chat template, or None without a path.

    Raises:
        LoraparError: The file cannot be read, is too large, or is not a Jinja template.
    """
    if path is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = read_text(path)
    require_size(text, f"`{path}`")
    try:
        # As transformers compiles it, except for `generation` blocks, which only it knows.
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(
            re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", text)
        )
    except TemplateSyntaxError as cause:
        raise LoraparError(
            f"`{path}:{cause.lineno}` is not a valid Jinja template", cause.message
        ) from cause
    except (RecursionError, MemoryError, ValueError) as cause:
        raise LoraparError(f"`{path}` is not a valid Jinja template", str(cause)[:200]) from cause
    return text


def require_size(text: str, name: str) -> None:
    """Refuses a chat template that would take minutes to compile.

    Raises:
        LoraparError: It has more than a million characters.
    """
    if len(text) > _MOST_CHARACTERS:
        raise LoraparError(
            f"{name} is too large for a chat template",
            f"{len(text):,} characters, at most {_MOST_CHARACTERS:,} are read",
            "give another template with `--template`",
        )
