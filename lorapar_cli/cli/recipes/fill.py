"""A recipe with somebody's own model, data, teachers and place, its comments kept."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.cli.recipes.catalog import Recipe

SCHEMA = Path(__file__).parents[1] / "schemas" / "run.schema.json"
"""JSON schema of configurations, which editors read."""


@dataclass(frozen=True)
class Choices:
    """What a configuration begins with; None for the recipe's own."""

    model: str | None = None
    data: str | None = None
    teachers: Sequence[str] | None = None
    run_dir: str | None = None


def own_choices(recipe: Recipe) -> Choices:
    """Returns the recipe's own values."""
    from lorapar_cli.store.yaml_file import parse_yaml

    content = parse_yaml(recipe.text)
    section = content["classify"]
    return Choices(content["model"], section["data"], section["teachers"], content["run_dir"])


def fill(recipe: Recipe, choices: Choices, out: Path) -> str:
    """Returns the YAML file, which names its schema and the command that runs it.

    Args:
        choices: Values that take the place of the recipe's own.
        out: Where the file will be.
    """
    text = recipe.text.replace(f"sample_configs/{recipe.name}.yaml", _in_a_line(str(out)))
    for key, value in (("model", choices.model), ("run_dir", choices.run_dir)):
        text = _replace(text, f"{key}: ", value)
    teachers = None if choices.teachers is None else list(choices.teachers)
    for key, listed in (("data", choices.data), ("teachers", teachers)):
        # The first such key: `classify` is the first section.
        text = _replace(text, f"  {key}: ", listed)
    return f"# yaml-language-server: $schema={_in_a_line(str(SCHEMA))}\n{text}"


def _replace(text: str, key: str, value: Any) -> str:
    if value is None:
        return text
    replaced, times = re.subn(
        rf"^{key}.*$", lambda _: key + _as_yaml(value), text, count=1, flags=re.MULTILINE
    )
    if not times:
        raise AssertionError(f"the recipe has no `{key.strip()}`")
    return replaced


def _as_yaml(value: Any) -> str:
    """Returns a value in one line of YAML."""
    import yaml

    # In a list, since YAML ends a bare value with a line of its own.
    written = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True)
    return written.strip()[1:-1]


def _in_a_line(name: str) -> str:
    """Returns a file's name for a comment, which ends with its line."""
    return re.sub(r"[\r\n\x85\u2028\u2029]", "?", name)
