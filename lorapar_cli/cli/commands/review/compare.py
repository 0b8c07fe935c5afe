"""`lorapar eval compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorapar_cli.cli.commands.review.show import describe_sample
from lorapar_cli.cli.console import print_json, print_text, say, stdout
from lorapar_cli.cli.eval_tables import difference, heading_of
from lorapar_cli.cli.forgetting_tables import forgetting_table
from lorapar_cli.cli.options import JsonOption
from lorapar_cli.errors import UsageError
from lorapar_cli.plurals import counted

if TYPE_CHECKING:
    from rich.table import Table

    from lorapar_cli.evaluation.review.pair import Comparison, PairedEvaluations, PairedModels
    from lorapar_cli.evaluation.review.read import Evaluation
    from lorapar_cli.stage_records.forgetting import Forgetting

_LISTED = 10


def compare(
    first: Annotated[
        Path, typer.Argument(help="A run directory, or the folder of one of its evaluations.")
    ],
    second: Annotated[Path, typer.Argument(help="Another one, compared with the first.")],
    name: Annotated[
        str | None,
        typer.Option(help="Which evaluation of the run directories. Default: the only common one."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "--adapter", help="Compare this model only. Default: each that both have."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Name of the model in the second evaluation, where it is another."),
    ] = None,
    show: Annotated[
        int, typer.Option(min=0, help="Changed records to print of each pair of models.")
    ] = 0,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Compare common records even if test sets or settings differ."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pair two evaluations record by record: difference, exact McNemar test, what changed."""
    from lorapar_cli.evaluation.review.pair import compare_evaluations

    if against is not None and model is None:
        raise UsageError("`--against` needs `--model`")
    models = None if model is None else [(model, model if against is None else against)]
    evaluations = _choose(first, second, name)
    comparison = compare_evaluations(*evaluations, models, anyway)
    if as_json:
        print_json(_as_json(evaluations, comparison, show))
        return
    for note in comparison.notes:
        say(f"note: {note}")
    console = stdout()
    console.print(f"first:  {evaluations[0].folder}")
    console.print(f"second: {evaluations[1].folder}")
    ways = dict.fromkeys(each.accuracy_of for each in evaluations)
    console.print(_table(comparison.pairs, " against ".join(ways)))
    if forgotten := _forgotten(evaluations, comparison.pairs):
        console.print(forgetting_table(forgotten))
    for pair in comparison.pairs:
        for line in _changed_lines(pair):
            console.print(line)
    for changed in comparison.changed:
        for each in changed[:show]:
            for place, sample in enumerate((each.first, each.second)):
                print_text(("first ", "second ")[place], end="")
                print_text(describe_sample(sample, evaluations[place], full=False))


def _choose(first: Path, second: Path, name: str | None) -> tuple["Evaluation", "Evaluation"]:
    """Returns the two evaluations; those of run directories by their common name."""
    from lorapar_cli.evaluation.review.read import find_evaluations, read_evaluation

    found = [find_evaluations(path) for path in (first, second)]
    chosen = []
    common = [each for each in found[0] if each in found[1]]
    for path, evaluations in zip((first, second), found, strict=True):
        if len(evaluations) == 1 and name is None:
            wanted = next(iter(evaluations))
        elif name is None and len(common) != 1:
            raise UsageError(
                f"`{path}` has {counted(len(evaluations), 'evaluation')}",
                ", ".join(evaluations),
                "name one with `--name`, or give its folder",
            )
        else:
            wanted = common[0] if name is None else name
        # The folder of an evaluation is meant whatever its name.
        is_folder = list(evaluations.values()) == [path]
        if wanted not in evaluations and not is_folder:
            raise UsageError(f"`{path}` has no evaluation `{wanted}`", ", ".join(evaluations))
        chosen.append(read_evaluation(path if is_folder else evaluations[wanted]))
    return chosen[0], chosen[1]


def _as_json(
    evaluations: tuple["Evaluation", "Evaluation"], comparison: "Comparison", show: int
) -> "PairedEvaluations":
    found: PairedEvaluations = {
        "first": str(evaluations[0].folder),
        "second": str(evaluations[1].folder),
        "accuracy_of": [each.accuracy_of for each in evaluations],
        "notes": comparison.notes,
        "pairs": comparison.pairs,
        "forgetting": [each.forgetting for each in evaluations],
    }
    if show:
        found["changed"] = [
            [{"first": each.first, "second": each.second} for each in changed[:show]]
            for changed in comparison.changed
        ]
    return found


def _forgotten(
    evaluations: tuple["Evaluation", "Evaluation"], pairs: list["PairedModels"]
) -> dict[str, "Forgetting"]:
    """Returns what the paired models have forgotten, by side and model, where it was measured."""
    found = {}
    for pair in pairs:
        named = (("first", pair["first_model"]), ("second", pair["second_model"]))
        for (side, model), evaluation in zip(named, evaluations, strict=True):
            if model in evaluation.forgetting:
                found[f"{side}, {model}"] = evaluation.forgetting[model]
    return found


def _table(pairs: list["PairedModels"], accuracy_of: str) -> "Table":
    from rich.table import Table

    table = Table(title=f"accuracy ({accuracy_of}) in %, second - first in points, exact McNemar p")
    for heading in ("model", "records", "first", "second", "second - first"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for pair in pairs:
        names = (pair["first_model"], pair["second_model"])
        label = names[0] if names[0] == names[1] else f"{names[0]}, {names[1]}"
        rows = {label: pair} | {
            f"  {heading_of(system)}": part for system, part in pair.get("by_system", {}).items()
        }
        for name, part in rows.items():
            shares = [
                f"{100 * part[side] / part['n']:.1f}" if part["n"] else "-"
                for side in ("first", "second")
            ]
            table.add_row(name, f"{part['n']:,}", *shares, difference(part))
    return table


def _changed_lines(pair: "PairedModels") -> list[str]:
    """Returns which records changed, the ids of the first few."""
    lines = []
    for ids, side in (
        (pair["only_first_ids"], "first"),
        (pair["only_second_ids"], "second"),
    ):
        listed = ", ".join(ids[:_LISTED]) + (", ..." if len(ids) > _LISTED else "")
        said = f"{pair['first_model']}: {len(ids):,} right only in the {side}"
        lines.append(said + (f": {listed}" if ids else ""))
    return lines
