"""`lorapar run`: every stage of a configuration, in order, skipping what is up to date."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lorapar_cli.cli import console
from lorapar_cli.cli.config import Step, plan_steps, read_config
from lorapar_cli.errors import UsageError


def run(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file: a section a stage, keys as options.")],
    run_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="LORAPAR_RUN_DIR",
            help="Run directory. Default: the configuration's, else `lorapar-run`.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again where settings or inputs changed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the configuration and run nothing.")
    ] = False,
) -> None:
    """Run all stages of CONFIG in order; stages that are up to date are skipped."""
    content = _with_own_teachers(read_config(config), config)
    if dry_run:
        steps = _plan(ctx, content, run_dir, overwrite)
        console.say(f"`{config}` is valid: {', '.join(step.stage for step in steps)}")
        return
    run_stages(ctx, content, run_dir, overwrite)


def _with_own_teachers(content: dict[str, Any], config: Path) -> dict[str, Any]:
    """Lets classify find the teachers that the configuration defines under `teachers:`."""
    if content.pop("teachers", None) is None:
        return content
    section = content.get("classify")
    section = {} if section is None else section
    if not isinstance(section, dict):
        return content
    return content | {"classify": {"teachers_file": str(config)} | section}


def _plan(ctx: typer.Context, content: dict[str, Any], run_dir: Path | None, overwrite: bool):
    """Returns the steps; what can be known to fail fails before the first of them runs.

    Raises:
        UsageError: The configuration does not fit the commands, or names no base model.
    """
    for section in ("train-sft", "train-rl"):
        key = section if section in content else section.replace("-", "_")
        settings = content.get(key)
        if overwrite and (settings is None or isinstance(settings, dict)):
            content = content | {key: (settings or {}) | {"overwrite": True}}
    steps = plan_steps(content, ctx.parent.command.commands, {"run_dir": run_dir})
    _require_model(steps)
    _check_training(steps)
    return steps


def _check_training(steps: list[Step]) -> None:
    """Refuses rewards, optimizers, trackers and trainer arguments that training would refuse."""
    from lorapar_cli.cli.options import given_options
    from lorapar_cli.cli.training_options import collect
    from lorapar_cli.names import Stage
    from lorapar_cli.training.options import RlOptions, SftOptions
    from lorapar_cli.training.preflight import check_training_options

    for step in steps:
        kind = {Stage.TRAIN_SFT: SftOptions, Stage.TRAIN_RL: RlOptions}.get(step.stage)
        if kind is not None:
            values = step.context.params
            check_training_options(
                collect(kind, values),
                given_options(step.context),
                allow_code=values.get("allow_code_execution", False),
                unsafe_code=values.get("unsafe_code_execution", False),
            )


def _require_model(steps: list[Step]) -> None:
    from lorapar_cli.store.run_dir import RunDir

    named = any(step.context.params.get("model") for step in steps)
    root = Path(steps[0].context.params["run_dir"])
    if not named and RunDir(root).base_model() is None:
        raise UsageError(
            "the configuration names no base model",
            hint="add `model:` with a folder, a hub id, or `embedded`",
        )


def run_stages(
    ctx: typer.Context, content: dict[str, Any], run_dir: Path | None, overwrite: bool = False
) -> None:
    """Runs the stages of a configuration and prints the closing report."""
    from lorapar_cli.cli.run_summary import closing_report

    steps = _plan(ctx, content, run_dir, overwrite)
    outcomes = {}
    with console.brief_results():
        for number, step in enumerate(steps, 1):
            console.say(f"[{number}/{len(steps)}] {step.stage}")
            outcome = step.invoke()
            if outcome is None:
                # `dry_run` in a stage's section: there is nothing to go on from.
                return
            outcomes[step.stage] = outcome
            console.say(f"      {_one_line(outcome)}")
    root = Path(steps[0].context.params["run_dir"])
    output = console.stdout()
    for renderable in closing_report(root, outcomes):
        output.print(renderable, soft_wrap=isinstance(renderable, str))


def _one_line(outcome) -> str:
    seconds = outcome.manifest.seconds()
    return f"done in {seconds:.0f} s" if outcome.fresh else f"up to date (took {seconds:.0f} s)"
