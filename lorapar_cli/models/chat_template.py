"""Chat templates that a user brings as a file, checked before anything is loaded."""

import re
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import read_text


def read_template(path: Path | None) -> str | None:
    """Returns the text of a Jinja chat template, or None without a path.

    Raises:
        LoraparError: The file cannot be read or is not a Jinja template.
    """
    if path is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = read_text(path)
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
