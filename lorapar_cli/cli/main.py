"""The `lorapar` command: its subcommands, and how errors are shown."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from lorapar_cli import __version__
from lorapar_cli.cli.command_index import CALL_OTHERS, COMMANDS
from lorapar_cli.cli.display.words import wrap
from lorapar_cli.cli.interrupts import keep_interrupts
from lorapar_cli.cli.options import describe_refusal
from lorapar_cli.cli.subcommands import SubcommandGroup
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.text_safety import make_inert, redact

# Set by the shell when it asks for completions.
_COMPLETION = "_LORAPAR_COMPLETE"

app = typer.Typer(
    name="lorapar",
    help="Fine-tune LLMs in two systems: label, score, partition, SFT, GRPO, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=SubcommandGroup,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="With --version: the machine's and libraries' too, as JSON."),
    ] = False,
) -> None:
    if version:
        print(_versions_json() if as_json else f"lorapar {__version__}")
        raise typer.Exit
    if as_json:
        raise UsageError("`--json` before a command belongs to `--version`")


def register(words: Sequence[str] | None = None) -> None:
    """Adds the subcommands; separate from `main`, for whoever only inspects them.

    Args:
        words: The command line. Commands that it cannot call are listed and not loaded, which takes
            most of the time of `--help`. None to load all.
    """
    if getattr(app, "all_loaded", False):
        return
    first = words[0] if words else ""
    everything = words is None or first in CALL_OTHERS or _COMPLETION in os.environ
    app.registered_commands.clear()
    for name, entry in COMMANDS.items():
        loaded = everything or name.partition(" ")[0] == first
        app.command(name)(entry.load() if loaded else entry.stand_in())
    app.all_loaded = everything  # type: ignore[attr-defined]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits 0 done, 1 expected error, 2 usage, 130 interrupted."""
    _prepare_libraries()
    register(sys.argv[1:] if arguments is None else arguments)
    keep_interrupts()
    try:
        code = app(arguments, prog_name="lorapar", standalone_mode=False)
        if code == 130:  # What typer returns for an interrupt inside a command.
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except LoraparError as error:
        _fail(error)
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "lorapar"
        _fail(UsageError(describe_refusal(error), hint=f"see `{where} --help`"))
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ImportError as error:
        from lorapar_cli.libraries import explain_import

        explained = explain_import(error)
        if explained is None:
            raise
        _fail(explained)
    except OSError as error:
        from lorapar_cli.store.disk.errors import as_expected

        expected = as_expected(error)
        if expected is None:
            raise
        _fail(expected)


def _prepare_libraries() -> None:
    """Sets what libraries read from the environment when they are loaded, unless the user did."""
    # Nothing about a run leaves the machine; and tokenizers warn when trainers fork.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads of torch that wait for one another soon sleep. By default they spin, and where another
    # process needs the cores, they spin through the time in which the others could have finished.
    # Not to spin at all costs an idle machine much more than these rounds, which GNU's OpenMP
    # itself takes where it knows that its threads are more than the cores.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def _versions_json() -> str:
    """Returns what a bug report needs: versions of lorapar, Python, libraries and the system."""
    from lorapar_cli.store.manifest import library_versions

    versions = library_versions()
    found = {
        "schema": 1,
        "lorapar": __version__,
        "python": versions.pop("python"),
        "platform": platform.platform(),
        "libraries": versions,
    }
    return json.dumps(found, indent=2)


def _fail(error: LoraparError) -> NoReturn:
    """Shows an expected error and ends with its exit code."""
    text = make_inert(redact(str(error)))
    if sys.stderr.isatty():
        text = wrap(text, shutil.get_terminal_size().columns)
    print(text, file=sys.stderr)
    sys.exit(2 if isinstance(error, UsageError) else 1)
