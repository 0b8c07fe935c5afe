"""`lorapar init`: writes a configuration that `lorapar run` takes, from a recipe and a few answers."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypedDict, TypeVar

import typer

from lorapar_cli.cli import console
from lorapar_cli.cli.commands.run import plan_run
from lorapar_cli.cli.commands.start.piped import piped_answers
from lorapar_cli.cli.interrupts import read_answer
from lorapar_cli.cli.options import JsonOption, split_list
from lorapar_cli.cli.recipes.catalog import RECIPES, Recipe, find_recipe
from lorapar_cli.cli.recipes.fill import Choices, fill, own_choices
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.text_safety import hide_keys, holds_key, looks_like_key

_KEYS_ELSEWHERE = (
    "no key belongs into a configuration: set an environment variable to it, such as "
    "`OPENAI_API_KEY` or `HF_TOKEN`"
)

T = TypeVar("T")
Ask = Callable[[str, str], str]
"""From a question and the answer that Enter gives to the answer."""


class InitOutput(TypedDict):
    """The configuration that was written.

    Keys:
        recipe: Name of the recipe that it began with.
        path: Of the file.
    """

    recipe: str
    path: str


def init(
    ctx: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe to begin with; `lorapar recipes` lists them. Default: is asked."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Base model: a folder, a hub id, or `embedded`. Default: is asked."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Training records, file or data set. Default: is asked.")
    ] = None,
    teachers: Annotated[
        str | None, typer.Option(help="Teachers, comma-separated. Default: is asked.")
    ] = None,
    run_dir: Annotated[
        str | None, typer.Option(help="Run directory. Default: the recipe's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("lorapar.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Ask nothing: the recipe's own values, and `--force`."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration for `lorapar run`, from a recipe."""
    asks = not yes and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if out.is_dir():
        raise UsageError(f"`--out` is the folder `{out}`", hint="name a file")
    ask = _ask if asks else None
    # With a recipe no question is open: stdin may be the list that a script's loop reads.
    if recipe is None and not (asks or yes) and (piped := piped_answers()) is not None:
        ask = piped.ask
    chosen = _choose_recipe(recipe, ask, yes)
    choices = _choose(chosen, Choices(model, data, _listed(teachers), run_dir), ask)
    if exists(out) and not (force or yes) and not (asks and _agrees(f"replace `{out}`?")):
        raise LoraparError(f"`{out}` is there already", hint="name another `--out`, or `--force`")
    _refuse_keys(choices)
    text = fill(chosen, choices, out)
    _check(ctx, text)
    with atomic_file(out) as file:
        file.write(text)
    if as_json:
        written: InitOutput = {"recipe": chosen.name, "path": str(out)}
        console.print_json(written)
        return
    run = f"lorapar run {shlex.quote(str(out))}"
    console.say(f"written: `{out}`, next: `{run} --dry-run`, then `{run}`")


def _listed(teachers: str | None) -> list[str] | None:
    return None if teachers is None else split_list(teachers, "--teachers")


def _choose_recipe(name: str | None, ask: Ask | None, yes: bool) -> Recipe:
    if name is not None:
        return find_recipe(name)
    if yes:
        return RECIPES[0]
    if ask is None:
        raise UsageError(
            "`lorapar init` needs `--recipe` where nobody can be asked",
            hint="`lorapar recipes` lists them; `--yes` takes the first one; or write the answers to "
            "stdin, a line each",
        )
    for each in RECIPES:
        console.say(f"{each.name}: {each.purpose}")
    return _answered(ask, "recipe", RECIPES[0].name, find_recipe)


def _answered(ask: Ask, question: str, default: str, read: Callable[[str], T]) -> T:
    """Returns what is read of an answer; a person whose answer cannot be read is asked again."""
    while True:
        answer = ask(question, default)
        try:
            return read(answer)
        except UsageError as error:
            if ask is not _ask:
                raise
            console.say(str(error))


def _choose(recipe: Recipe, given: Choices, ask: Ask | None) -> Choices:
    """Returns the values that are not the recipe's own, asking for those that were not given."""
    if ask is None:
        return given
    own = own_choices(recipe)
    model = given.model or ask("base model: folder, hub id or `embedded`", own.model or "")
    data = given.data or ask("training records: file or data set", own.data or "")
    teachers = given.teachers
    if teachers is None:
        usual = ",".join(own.teachers or ())
        teachers = _answered(ask, "teachers, comma-separated", usual, _listed)
    return Choices(model, data, teachers, given.run_dir)


def _refuse_keys(choices: Choices) -> None:
    """Checks that nothing that the file will hold is a key, pasted where a name belongs.

    Raises:
        UsageError: Something looks like one.
    """
    named = {"--model": choices.model, "--data": choices.data, "--run-dir": choices.run_dir}
    for flag, value in named.items():
        if value is None:
            continue
        is_name = "/" not in value and not exists(Path(value))
        if holds_key(value) or (is_name and looks_like_key(value)):
            raise UsageError(
                f"`{flag}` has a value that looks like a key", hide_keys(value), _KEYS_ELSEWHERE
            )


def _ask(question: str, default: str) -> str:
    """Returns a line from the terminal, the default where it is empty."""
    try:
        console.stderr().print(f"{question} [{default}]: ", end="")
        line = read_answer()
        if not line:
            raise typer.Abort
    except (KeyboardInterrupt, typer.Abort):
        console.say("")
        raise
    return line.strip() or default


def _agrees(question: str) -> bool:
    return _ask(question, "no").lower() in ("y", "yes")


def _check(ctx: typer.Context, text: str) -> None:
    """Checks a configuration as `lorapar run` will.

    Raises:
        UsageError: It does not fit.
    """
    from lorapar_cli.labelling.teachers.catalog import find_teachers
    from lorapar_cli.store.yaml_file import parse_yaml

    try:
        content = parse_yaml(text)
        plan_run(ctx, content, None)
        section = content["classify"]
        find_teachers(section["teachers"], None, content["model"], False)
        if Path(section["data"]).suffix and not Path(section["data"]).exists():
            console.say(f"note: there is no file `{section['data']}` yet")
    except UsageError:
        raise
    except LoraparError as error:
        # The file may be meant for another machine, which has what is missing here.
        console.say(f"note: not on this machine yet: {error.what}")
