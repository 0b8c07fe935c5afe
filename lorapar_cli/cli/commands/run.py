"""`lorapar run`: every stage of a configuration, in order, skipping what is up to date."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lorapar_cli.cli import console
from lorapar_cli.cli.config import Step, plan_steps, read_config
from lorapar_cli.cli.options import given_options
from lorapar_cli.cli.stage_command import read_options
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.launcher import is_main
from lorapar_cli.libraries import MODELS, TRAINING, require_libraries
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import RlOptions, SftOptions, TrainingOptions

_TRAINING: dict[Stage, type[TrainingOptions]] = {
    Stage.TRAIN_SFT: SftOptions,
    Stage.TRAIN_RL: RlOptions,
}


def run(
    ctx: typer.Context,
    config: Annotated[
        Path, typer.Argument(help="YAML file: a section per stage, its keys named after options.")
    ],
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
        steps = plan_run(ctx, content, run_dir, overwrite)
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


def plan_run(
    ctx: typer.Context, content: dict[str, Any], run_dir: Path | None, overwrite: bool = False
) -> list[Step]:
    """Returns the steps; what can be known to fail fails before the first of them runs.

    Raises:
        LoraparError: Training needs something that is not there.
        UsageError: The configuration does not fit the commands, or names no base model.
    """
    for stage in _TRAINING:
        key = stage.value if stage.value in content else stage.value.replace("-", "_")
        settings = content.get(key)
        if overwrite and (settings is None or isinstance(settings, dict)):
            content = content | {key: (settings or {}) | {"overwrite": True}}
    root = ctx.find_root().command
    if not isinstance(root, TyperGroup):
        raise AssertionError("`run` was not called as a subcommand")
    steps = plan_steps(content, root.commands, {"run_dir": run_dir})
    _require_model(steps)
    _check_options(steps)
    return steps


def _check_options(steps: Sequence[Step]) -> None:
    """Refuses libraries, teachers, inits, rewards and so on that a stage would refuse."""
    trains = any(step.stage in _TRAINING for step in steps)
    require_libraries(TRAINING if trains else MODELS, "`lorapar run`")
    from lorapar_cli.labelling.teachers.catalog import check_teachers
    from lorapar_cli.scoring.score_run import check_options
    from lorapar_cli.training.preflight import check_training_options
    from lorapar_cli.training.recipes.init_warning import rl_init_warning

    init = None
    for step in steps:
        if step.stage is Stage.CLASSIFY:
            labelled = read_options(ClassifyOptions, step.context.params)
            check_teachers(labelled.teachers, labelled.teachers_file)
        if step.stage is Stage.SCORE:
            scored = read_options(ScoreOptions, step.context.params)
            check_options(scored)
            init = scored.init
        if (kind := _TRAINING.get(step.stage)) is not None:
            options = read_options(kind, step.context.params)
            check_training_options(options, given_options(step.context))
            warning = rl_init_warning(init)
            if step.stage is Stage.TRAIN_RL and options.adapter is None and warning is not None:
                console.say(f"note: {warning}")


def _require_model(steps: Sequence[Step]) -> None:
    named = any(step.context.params.get("model") for step in steps)
    if not named and RunDir(_run_dir_of(steps)).base_model() is None:
        raise UsageError(
            "the configuration names no base model",
            hint="add `model:` with a folder, a hub id, or `embedded`",
        )


def _run_dir_of(steps: Sequence[Step]) -> Path:
    return Path(steps[0].context.params["run_dir"])


def run_stages(
    ctx: typer.Context, content: dict[str, Any], run_dir: Path | None, overwrite: bool = False
) -> None:
    """Runs the stages of a configuration and prints the closing report."""
    from lorapar_cli.cli.display.board import run_display
    from lorapar_cli.cli.run_summary import closing_report

    steps = plan_run(ctx, content, run_dir, overwrite)
    outcomes: dict[Stage, Outcome] = {}
    root = _run_dir_of(steps)
    title = f"lorapar {ctx.info_name} in {root}"
    with (
        console.brief_results(),
        run_display(title, [step.stage for step in steps]) as (display, progress),
    ):
        for step in steps:
            display.begin(step.stage)
            outcome = step.invoke()
            if outcome is None:
                # A dry run or a sweep in a stage's section leaves nothing for later stages.
                return
            outcomes[step.stage] = outcome
            display.end(step.stage, outcome)
        progress(Advance("writing the report"))
        page = _write_report(root) if is_main() else None
    for renderable in closing_report(root, outcomes, page):
        if isinstance(renderable, str):
            console.print_sentence(renderable)
        else:
            console.stdout().print(renderable)


def _write_report(root: Path) -> Path | None:
    """Writes the run's page; None where it cannot be written, which takes nothing from the run."""
    from lorapar_cli.tools.page.page import run_page, write_page

    path = root / Artifact.REPORT
    try:
        write_page(run_page(RunDir(root)), path)
    except (LoraparError, OSError) as error:
        console.say(f"note: no report was written: {error}")
        return None
    return path
