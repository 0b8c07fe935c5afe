"""Turns a completion into the program that is run."""

import re
from dataclasses import dataclass

from lorapar_cli.grading.sandbox.runner import Program


@dataclass(frozen=True)
class Code:
    """A programming task in HumanEval's meaning of these fields.

    Attributes:
        prompt: The beginning of a program, up to the function that is asked for.
        entry_point: Name of that function.
        test: Code with a function `check(candidate)` that asserts what the function must do.
    """

    prompt: str
    entry_point: str
    test: str


# Opens at the start of a line, with any language tag: `python`, `Python`, `python3`, `py`, none.
_FENCED = re.compile(r"^[ \t]*```[^`\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.MULTILINE)


def to_program(code: Code, completion: str) -> Program:
    """Returns the program that a completion stands for.

    If the completion has a fenced block, only the first one counts. Text that defines the function
    itself replaces the prompt's beginning of it; any other text continues the prompt.
    """
    fenced = _FENCED.search(completion)
    text = fenced[1] if fenced else completion
    # The prompt's imports and helper functions, with an empty body for the function asked for.
    setup = f"{code.prompt.rstrip()}\n    pass\n"
    whole = re.search(rf"^(?:async )?def {re.escape(code.entry_point)}\b", text, re.MULTILINE)
    return Program(
        text=f"{setup}\n{text}" if whole else code.prompt + text,
        entry_point=code.entry_point,
        setup=setup,
        test=code.test,
    )
