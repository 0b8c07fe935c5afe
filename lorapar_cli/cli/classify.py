"""`lorapar classify`."""

from enum import StrEnum
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import (
    RUN_DIR,
    JsonOption,
    ModelOption,
    OutOption,
    RunDirOption,
    SeedOption,
    TrustOption,
    given_options,
    split_list,
)
from lorapar_cli.store.manifest import Manifest, Outcome


class OnTie(StrEnum):
    """What becomes of ties and of records without votes."""

    SYSTEM1 = "system1"
    SYSTEM2 = "system2"
    DROP = "drop"
    ERROR = "error"


def classify(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(help="Data file (.jsonl, .json, .csv, .parquet), folder or hub data set."),
    ],
    teachers: Annotated[
        str,
        typer.Option(help="Teachers that vote, comma-separated; `lorapar teachers` lists them."),
    ],
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many records.")
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of the records kept apart for `eval`, at most 500; 0 for none.",
        ),
    ] = 0.05,
    on_tie: Annotated[
        OnTie, typer.Option(help="What a tie or a record without votes becomes.")
    ] = OnTie.SYSTEM2,
    format: Annotated[
        str,
        typer.Option(
            help="What the data's fields mean: gsm8k, alpaca, dolly, mmlu, humaneval, messages, "
            "completion; auto goes by the fields of each record."
        ),
    ] = "auto",
    prompt_field: Annotated[
        str | None, typer.Option(help="Field with the prompt; with `--completion-field`.")
    ] = None,
    completion_field: Annotated[
        str | None, typer.Option(help="Field with the completion; with `--prompt-field`.")
    ] = None,
    id_field: Annotated[str, typer.Option(help="Field with the record's id.")] = "id",
    split: Annotated[str, typer.Option(help="Split of a folder or hub data set.")] = "train",
    subset: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out lines that are no records and count them.")
    ] = False,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    run_dir: RunDirOption = RUN_DIR,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> Outcome:
    """Label records as System 1 or System 2 by the votes of several teachers."""
    from lorapar_cli.stages.classify import classify as stage
    from lorapar_cli.store.rundir import RunDir

    with progress_display() as progress:
        outcome = stage(
            RunDir(run_dir),
            data=data,
            teachers=split_list(teachers, "--teachers"),
            model=model,
            limit=limit,
            holdout=holdout,
            seed=seed,
            on_tie=on_tie.value,
            format=format,
            prompt_field=prompt_field,
            completion_field=completion_field,
            id_field=id_field,
            split=split,
            subset=subset,
            skip_bad=skip_bad,
            trust_remote_code=trust_remote_code,
            out=out,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, _render, "lorapar score")
    return outcome


def _render(manifest: Manifest) -> list:
    from rich.table import Table

    counts = manifest.counts
    labels = Table(title="labels")
    for name in ("records", "system1", "system2", "heldout", "dropped"):
        labels.add_column(name, justify="right")
    labels.add_row(
        *(str(counts[n]) for n in ("records", "system1", "system2", "heldout", "dropped"))
    )
    votes = Table(title="votes")
    accuracy = manifest.metrics.get("accuracy", {})
    votes.add_column("teacher")
    for name in ("system1", "system2", "no vote", "asked", "from journal"):
        votes.add_column(name, justify="right")
    if accuracy:
        votes.add_column("accuracy", justify="right")
    for name, row in counts["teachers"].items():
        shown = [row[k] for k in ("system1", "system2", "no_vote", "asked", "from_journal")]
        right = [f"{accuracy[name]:.3f}"] if accuracy else []
        votes.add_row(name, *map(str, shown), *right)
    lines = [labels, votes]
    if accuracy:
        lines.append(
            f"accuracy of the vote by the data's own labels: {accuracy['vote']:.3f} "
            f"({accuracy['records']} records)"
        )
    return lines
