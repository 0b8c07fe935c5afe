"""`lorapar compare`."""

from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import print_json, progress_display, say, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.libraries import TRAINING, require_libraries
from lorapar_cli.names import System
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

if TYPE_CHECKING:
    from lorapar_cli.comparison.report.results import CellRow, Comparison


@stage_command(CompareOptions)
def compare(
    options: CompareOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> None:
    """Train the mask's rivals at equal size and say whether the mask pays."""
    require_libraries(TRAINING, "`lorapar compare`")
    from lorapar_cli.comparison.compare import compare as run

    with progress_display() as progress:
        comparison = run(RunDir(run_dir), options, progress=progress)
    if as_json:
        print_json(comparison)
        return
    for note in comparison["notes"]:
        say(f"note: {note}")
    for row in comparison["cells"]:
        if "diverged" in row:
            say(f"note: `{row['stage']}` of `{row['cell']}` has no figures: {row['diverged']}")
    for each in comparison["left_out"]:
        say(f"note: left out to fit into `--budget`: {each}")
    console = stdout()
    for stage in (verdict["stage"] for verdict in comparison["verdicts"]):
        console.print(_cell_table(comparison, stage))
        console.print(_difference_table(comparison, stage))
    console.print(f"{comparison['sentence']}.")
    folder = RunDir(run_dir).folder("compare")
    say(f"written: `{folder / 'results.json'}`, `{folder / 'compare.md'}`")


def _cell_table(comparison: "Comparison", stage: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{stage}, held-out records, means over seeds",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", overflow="fold", max_width=14)
    for head in ("elements", "loss S1", "loss S2", "acc. S1", "acc. S2", "KL", "neutral"):
        table.add_column(head, justify="right")
    base = comparison["base"]
    losses = [_figure(base["loss"].get(system.value), ".3f") for system in System]
    shares = [_figure(base["accuracy"].get(system.value), ".3f") for system in System]
    table.add_row("base model", "", *losses, *shares, "", "")
    for row in comparison["cells"]:
        if row["stage"] == stage:
            table.add_row(row["cell"], *_figures(row))
    return table


def _figures(row: "CellRow") -> list[str]:
    if "diverged" in row:
        return ["no figures", *[""] * 6]
    forgotten = row["forgetting"]
    return [
        f"{row['active']:,}",
        *(_figure(row["loss"].get(system.value), ".3f") for system in System),
        *(_figure(row["accuracy"].get(system.value), ".3f") for system in System),
        f"{forgotten['kl']:.3f}",
        f"{forgotten['neutral_loss_change']:+.3f}",
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _difference_table(comparison: "Comparison", stage: str) -> Any:
    from rich import box
    from rich.table import Table

    from lorapar_cli.comparison.report.tables import format_p

    verdict = next(each for each in comparison["verdicts"] if each["stage"] == stage)
    measure, systems = verdict["measure"], verdict["systems"]
    table = Table(
        title=f"differences in {measure}, {' and '.join(systems)}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", overflow="fold", max_width=14)
    table.add_column("against", overflow="fold", max_width=14)
    for head in ("difference", "95 % interval", "p (Holm)"):
        table.add_column(head, justify="right")
    for row in comparison["differences"]:
        if row["stage"] == stage and row["measure"] == measure and row["system"] in systems:
            table.add_row(
                row["cell"],
                row["against"],
                f"{row['difference']:+.4f}",
                f"{row['low']:+.4f} to {row['high']:+.4f}",
                format_p(row["p_holm"]),
            )
    return table
