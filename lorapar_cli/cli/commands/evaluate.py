"""`lorapar eval`."""

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.eval_tables import render
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


@stage_command(EvalOptions)
def evaluate(
    ctx: typer.Context,
    options: EvalOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome:
    """Measure the accuracy of the base model and every adapter, by system, with 95 % intervals.

    `lorapar eval show` prints single completions of a result, `lorapar eval compare` pairs two results.
    """
    from lorapar_cli.evaluation import evaluate as stage

    with progress_display() as progress:
        outcome = stage.evaluate(
            RunDir(run_dir), options, given=given_options(ctx), progress=progress
        )
    show_outcome(outcome, as_json, render, None)
    return outcome
