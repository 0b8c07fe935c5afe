"""What the stages of a sweep would refuse, found before the first of them runs."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from lorapar_cli.comparison.naming import is_file
from lorapar_cli.comparison.sweep.cells import Cell
from lorapar_cli.comparison.sweep.steps import CellSteps, Step, steps_of
from lorapar_cli.data.files import COMPRESSIONS, SUFFIXES
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.options import Options, options_of
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.training.options import TrainingOptions

# Of a value that names several files.
_PATTERN = set("*?[")


def plan_cells(cells: Sequence[Cell], root: Path, *, code: bool, trust: bool) -> list[CellSteps]:
    """Returns the steps of all cells.

    Args:
        root: Folder of the steps' folders.

    Raises:
        UsageError: Settings of cells do not fit together; each problem with the first such cell.
    """
    found: list[CellSteps] = []
    problems: dict[str, str] = {}
    for cell in cells:
        try:
            found.append(steps_of(cell, root, code=code, trust=trust))
        except UsageError as error:
            parts = filter(None, (error.what, error.found, error.hint))
            problems.setdefault(str(error), f"cell `{cell.name}`: {'; '.join(parts)}")
    if problems:
        raise UsageError("settings do not fit together", "\n".join(problems.values()))
    return found


def check(steps: Iterable[Step], written: Collection[str]) -> list[str]:
    """Returns what the stages would refuse of these steps, each sentence once.

    Args:
        written: Files that will be there when they are read.
    """
    problems: dict[str, None] = {}
    for step in steps:
        options = step.options()
        for path in _named_files(options):
            if path not in written and not is_file(path):
                problems[f"{step.kind}: `{path}` does not exist"] = None
        try:
            _check_options(options, list(step.settings))
        except LoraparError as error:
            reason = f", {error.found}" if error.found else ""
            problems[f"{step.kind}: {error.what}{reason}"] = None
    return list(problems)


def _check_options(options: Options, given: list[str]) -> None:
    from lorapar_cli.scoring.score_run import check_options
    from lorapar_cli.training.preflight import check_training_options

    if isinstance(options, ClassifyOptions):
        find_teachers(options.teachers, options.teachers_file, options.model, options.student_chain)
    if isinstance(options, ScoreOptions):
        check_options(options)
    if isinstance(options, TrainingOptions):
        check_training_options(options, given)
    if (
        isinstance(options, EvalOptions)
        and options.task == "humaneval"
        and not options.allow_code_execution
    ):
        raise UsageError(
            "`--task humaneval` runs code that a model wrote",
            "allow it, in a sandbox, with `--allow-code-execution`",
        )
    if isinstance(options, EvalOptions) and options.harness_tasks:
        raise UsageError(
            "a sweep measures the accuracy of lorapar's own tasks",
            f"`{options.task}` is of lm-evaluation-harness, whose tasks have metrics of their own",
        )


def _named_files(options: Options) -> Iterator[str]:
    """Yields values of options that name one file by their extension."""
    for each in options_of(type(options)):
        value = getattr(options, each.name)
        for part in value if isinstance(value, tuple) else (value,):
            if not isinstance(part, str | Path) or _PATTERN & set(str(part)):
                continue
            if Path(part).suffix in (*SUFFIXES, *COMPRESSIONS):
                yield str(part)
