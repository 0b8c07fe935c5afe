"""`lorapar eval show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorapar_cli.cli.console import print_json, print_text, say
from lorapar_cli.cli.options import JsonOption, RunDirOption, split_list
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR

if TYPE_CHECKING:
    from lorapar_cli.evaluation.review.read import Evaluation
    from lorapar_cli.evaluation.sample_journal import Sample

_DEFAULT_WRONG = 5
# Of a question the end matters most: examples and context come before it.
_QUESTION, _COMPLETION = (200, 600), (700, 700)


def show(
    evaluation: Annotated[
        str | None,
        typer.Argument(
            help="Name of an evaluation in the run directory, or its folder. Default: the only one.",
            show_default=False,
        ),
    ] = None,
    wrong: Annotated[
        int | None,
        typer.Option(min=0, help="Wrong completions to print of each model. Default: 5."),
    ] = None,
    right: Annotated[
        int | None, typer.Option(min=0, help="Right completions to print of each model.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "--adapter", help="Only these models, comma-separated."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Only records of these systems, comma-separated.")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option("--id", help="Only records with these ids, comma-separated: all completions."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print questions and completions whole, however long.")
    ] = False,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> None:
    """Print completions of a finished evaluation: question, reference, answer found, and why."""
    from lorapar_cli.evaluation.review.show import Choice, choose_samples, show_samples

    found = _find(run_dir, evaluation)
    if wrong is None and right is None:
        wrong, right = (_DEFAULT_WRONG, 0) if id is None else (None, None)
    else:
        wrong, right = wrong or 0, right or 0
    choice = Choice(
        wrong,
        right,
        models=split_list(model, "--model") if model is not None else (),
        systems=split_list(system, "--system") if system is not None else (),
        ids=split_list(id, "--id") if id is not None else (),
    )
    if as_json:
        print_json(show_samples(found, choice))
        return
    chosen = choose_samples(found, choice)
    for sample in chosen:
        print_text(describe_sample(sample, found, full))
    if not chosen:
        say(f"`{found.folder}` has no such completion")


def _find(run_dir: Path, evaluation: str | None) -> "Evaluation":
    from lorapar_cli.evaluation.review.read import choose_evaluation

    # Data of a task often lies in a folder of the task's name; the name is then the evaluation's.
    is_name = (
        evaluation is not None
        and Path(evaluation).name == evaluation
        and (run_dir / Stage.EVAL / evaluation / Artifact.MANIFEST).is_file()
    )
    if evaluation is not None and not is_name and Path(evaluation).is_dir():
        return choose_evaluation(Path(evaluation), None, "its folder")
    return choose_evaluation(run_dir, evaluation, "`lorapar eval show NAME`")


def describe_sample(sample: "Sample", evaluation: "Evaluation", full: bool) -> str:
    """Returns a sample for a person to read, several lines."""
    from lorapar_cli.evaluation.review.read import verdict
    from lorapar_cli.evaluation.review.show import explain, question_text

    groups: dict[str, Any] = {
        kind: sample.get(kind) for kind in ("system", "group", "subject", "steps")
    }
    said = {True: "right", False: "wrong", None: "neither right nor wrong"}[verdict(sample)]
    known = [f"{kind} {value}" for kind, value in groups.items() if value is not None]
    head = ", ".join([f"model {sample['model']}", f"draw {sample['draw']}", *known])
    lines = [
        f"== {sample['id']} ({head}): {said} ==",
        *_field("question", question_text(sample["prompt"]), _QUESTION, full),
        *_field("reference", _reference(sample), _QUESTION, full),
        *_field("extracted", str(sample["extracted"] or "(nothing)"), _QUESTION, full),
        *_field("completion", sample["completion"] or "(empty)", _COMPLETION, full),
        *_field("why", explain(sample, evaluation), _QUESTION, full),
    ]
    return "\n".join(lines) + "\n"


def _reference(sample: "Sample") -> str:
    accepted = sample.get("reference_answers") or [sample["reference"]]
    return " | ".join(accepted) or "(the tests)"


def _field(name: str, text: str, parts: tuple[int, int], full: bool) -> list[str]:
    """Returns the lines of one field; text of several lines is indented below its name."""
    from lorapar_cli.evaluation.review.show import shorten

    shown = text if full else shorten(text, *parts).text
    lines = shown.strip("\n").split("\n")
    if len(lines) == 1:
        return [f"{name + ':':<12}{lines[0]}"]
    return [f"{name}:", *(f"    {line}" for line in lines)]
