"""From a completion to the program that is run."""

import re
from dataclasses import dataclass

from lorapar_cli.grading.sandbox.runner import Program


@dataclass(frozen=True)
class Code:
    """What judges a program: see `grading.sandbox.runner.Program`."""

    prompt: str
    entry_point: str
    test: str


# Opened at the start of a line, of whatever language: `python`, `Python`, `python3`, `py`, none.
_FENCED = re.compile(r"^[ \t]*```[^`\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.MULTILINE)


def to_program(code: Code, completion: str) -> Program:
    """Returns the program that a completion stands for.

    A fenced block counts alone. A text that defines the function itself replaces the prompt's
    beginning of it; any other text goes on where the prompt ends.
    """
    fenced = _FENCED.search(completion)
    text = fenced[1] if fenced else completion
    # The prompt's imports and helpers, with an empty body for the function that is asked for.
    setup = f"{code.prompt.rstrip()}\n    pass\n"
    whole = re.search(rf"^(?:async )?def {re.escape(code.entry_point)}\b", text, re.MULTILINE)
    return Program(
        text=f"{setup}\n{text}" if whole else code.prompt + text,
        entry_point=code.entry_point,
        setup=setup,
        test=code.test,
    )
