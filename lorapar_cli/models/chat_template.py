"""Chat templates that a user brings as a file, checked before anything is loaded."""

import re
from pathlib import Path

from lorapar_cli.errors import LoraparError


def read_template(path: Path | None) -> str | None:
    """Returns the text of a Jinja chat template, or None without a path.

    Raises:
        LoraparError: The file cannot be read or is not a Jinja template.
    """
    if path is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        text = path.read_text(encoding="utf-8")
        # As transformers compiles it, except for `generation` blocks, which only it knows.
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(
            re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", text)
        )
    except (OSError, UnicodeDecodeError) as cause:
        raise LoraparError(f"cannot read template `{path}`", str(cause)) from cause
    except TemplateSyntaxError as cause:
        raise LoraparError(
            f"`{path}:{cause.lineno}` is not a valid Jinja template", cause.message
        ) from cause
    return text
