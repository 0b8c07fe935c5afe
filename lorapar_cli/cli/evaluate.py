"""`lorapar eval`."""

from typing import Annotated, Any

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import (
    RUN_DIR,
    JsonOption,
    ModelOption,
    RunDirOption,
    SeedOption,
    TrustOption,
    given_options,
    split_list,
)
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.rundir import RunDir


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            help="Records to ask: a file or hub id with reference answers. "
            "Default: those that `classify` held out."
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            help="What to evaluate, comma-separated: base, sft, rl, NAME=FOLDER. "
            "Default: base and every adapter that the run has."
        ),
    ] = None,
    model: ModelOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Folder of the result inside `eval/`. Default: `heldout` or the data file's stem.",
            rich_help_panel="Where",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask the first so many records only.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens after which a completion is cut.")
    ] = 256,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Prompts that are completed at once.")
    ] = 64,
    dtype: Annotated[
        str, typer.Option(help="Of the base model: auto, float32, bfloat16 or float16.")
    ] = "auto",
    run_dir: RunDirOption = RUN_DIR,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> Outcome:
    """Measure the base model and every adapter: accuracy by system, with 95 % intervals."""
    from lorapar_cli.stages import evaluate as stage

    with progress_display() as progress:
        outcome = stage.evaluate(
            RunDir(run_dir),
            data=data,
            name=name,
            adapter=None if adapter is None else split_list(adapter, "--adapter"),
            model=model,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            limit=limit,
            dtype=dtype,
            seed=seed,
            trust_remote_code=trust_remote_code,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, render, None)
    return outcome


def render(manifest: Manifest) -> list:
    """Returns the tables of an evaluation: accuracy by model, and differences by pair."""
    tables = [_accuracy_table(manifest)]
    if manifest.metrics["pairs"]:
        tables.append(_difference_table(manifest))
    return tables


def _accuracy_table(manifest: Manifest) -> Any:
    from rich.table import Table

    models = manifest.metrics["models"]
    systems = list(models[0].get("by_system", {}))
    table = Table(title=f"accuracy on {manifest.counts['items']:,} records, 95 % intervals")
    table.add_column("model")
    for heading in ("all", *map(_heading, systems)):
        table.add_column(heading, justify="right")
    for entry in models:
        cells = [entry, *(entry["by_system"][system] for system in systems)]
        table.add_row(entry["model"], *map(_share, cells))
    return table


def _difference_table(manifest: Manifest) -> Any:
    from rich.table import Table

    pairs = manifest.metrics["pairs"]
    systems = list(pairs[0].get("by_system", {}))
    table = Table(title="paired differences in points, 95 % intervals, exact McNemar p")
    table.add_column("models")
    for heading in ("all", *map(_heading, systems)):
        table.add_column(heading, justify="right")
    for pair in pairs:
        cells = [pair, *(pair["by_system"][system] for system in systems)]
        table.add_row(f"{pair['model']} - {pair['against']}", *map(_difference, cells))
    return table


def _heading(system: str) -> str:
    return system.replace("system", "System ")


def _share(entry: dict) -> str:
    low, high = entry["interval"]
    return f"{100 * entry['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(entry: dict) -> str:
    low, high = entry["interval"]
    return (
        f"{100 * entry['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] "
        f"p {_p_value(entry['p_value'])}"
    )


def _p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
