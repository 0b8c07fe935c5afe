"""The `lorapar` command: its subcommands, and how errors are shown."""

import os
import sys
from typing import Annotated

import typer

from lorapar_cli import __version__
from lorapar_cli.cli.options import describe_refusal
from lorapar_cli.errors import LoraparError, UsageError

app = typer.Typer(
    name="lorapar",
    help="Fine-tune LLMs in two systems: label, score, partition, SFT, GRPO, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"lorapar {__version__}")
        raise typer.Exit


def register() -> None:
    """Adds the subcommands; separate from `main`, for whoever only inspects them."""
    if app.registered_commands:
        return
    from lorapar_cli.cli.commands import (
        classify,
        demo,
        doctor,
        evaluate,
        export,
        inspect,
        partition,
        plot,
        report,
        run,
        score,
        status,
        teachers,
        train_rl,
        train_sft,
    )

    app.command("classify")(classify.classify)
    app.command("score")(score.score)
    app.command("partition")(partition.partition)
    app.command("train-sft")(train_sft.train_sft)
    app.command("train-rl")(train_rl.train_rl)
    app.command("eval")(evaluate.evaluate)
    app.command("run")(run.run)
    app.command("demo")(demo.demo)
    app.command("status")(status.status)
    app.command("inspect")(inspect.inspect)
    app.command("export")(export.export)
    app.command("plot")(plot.plot)
    app.command("teachers")(teachers.teachers)
    app.command("report")(report.report)
    app.command("doctor")(doctor.doctor)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits 0 done, 1 expected error, 2 usage, 130 interrupted."""
    # Nothing about a run leaves the machine; and tokenizers warn when trainers fork.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    register()
    try:
        code = app(arguments, prog_name="lorapar", standalone_mode=False)
        if code == 130:  # What typer returns for an interrupt inside a command.
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except LoraparError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "lorapar"
        message = describe_refusal(error)
        print(UsageError(message, hint=f"see `{where} --help`"), file=sys.stderr)
        sys.exit(2)
