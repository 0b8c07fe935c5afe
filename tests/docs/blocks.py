"""The command blocks of README and documentation, and how each line of them is run."""

import re
import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = Path(__file__).with_name("blocks.toml")
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "sample_configs" / "README.md",
    ROOT / "lorapar_cli" / "SKILL.md",
]
BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
# Blocks in these languages are commands; one without a language is, too.
SHELL = {"", "bash", "sh", "shell", "console"}


@dataclass(frozen=True)
class Line:
    """One command line of a page, as it is written, without its comment."""

    page: str
    text: str


def blocks(page: Path, languages: set[str]) -> list[str]:
    """Returns the text of a page's blocks in some languages."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for _, language, text in found if language in languages]


def lines_of(text: str) -> list[str]:
    """Returns the command lines of a block: continued ones joined, without prompts and comments."""
    joined = re.sub(r"\\\n\s*", "", text)
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line.removeprefix("$ ") for line in bare if line]


@cache
def command_lines() -> tuple[Line, ...]:
    """Returns every command line of every page, in order."""
    return tuple(
        Line(page.relative_to(ROOT).as_posix(), line)
        for page in PAGES
        for text in blocks(page, SHELL)
        for line in lines_of(text)
    )


@cache
def rules() -> dict:
    return tomllib.loads(RULES.read_text(encoding="utf-8"))


def fits(entry: dict, line: Line) -> bool:
    return entry.get("page", line.page) == line.page and line.text in entry["lines"]


def reason_not_to_run(line: Line) -> str | None:
    """Returns why a line is not run here, None where it is run."""
    return next((each["because"] for each in rules()["not_run"] if fits(each, line)), None)


def is_command_of_ours(text: str) -> bool:
    return text.split(maxsplit=1)[0] == "lorapar" or text.startswith(
        "python -m lorapar_cli.embedded "
    )


def arguments_of(line: Line) -> list[str]:
    """Returns the words of a line with names that stand for the reader's own replaced, and shortened."""
    words = shlex.split(line.text)
    words = [rules()["rewrite"].get(word, word) for word in words]
    return words + rules()["shorten"].get(words[1], []) * (words[0] == "lorapar")
