"""`lorapar classify`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lorapar_cli.cli.console import progress_display, say, show_outcome, stdout
from lorapar_cli.cli.options import (
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
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR


class OnTie(StrEnum):
    """What becomes of ties and of records without votes."""

    SYSTEM1 = "system1"
    SYSTEM2 = "system2"
    DROP = "drop"
    ERROR = "error"


class Strategy(StrEnum):
    """How labels come about."""

    VOTE = "vote"
    RANDOM = "random"


class Vote(StrEnum):
    """How votes become a label."""

    MAJORITY = "majority"
    WEIGHTED = "weighted"


_TEACHERS = "Teachers"
_DATA = "Data"
_ASKING = "Asking"


def classify(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(help="Data file (.jsonl, .json, .csv, .parquet), folder or hub data set."),
    ],
    teachers: Annotated[
        str | None,
        typer.Option(
            help="Teachers that vote, comma-separated: names that `lorapar teachers` lists, "
            "`name=model@http://host:port/v1` or `hf:PATH`.",
            rich_help_panel=_TEACHERS,
        ),
    ] = None,
    model: ModelOption = None,
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="`vote`, or `random` labels without teachers.", rich_help_panel=_TEACHERS
        ),
    ] = Strategy.VOTE,
    share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of System 2 in `random`.", rich_help_panel=_TEACHERS
        ),
    ] = 0.5,
    vote: Annotated[
        Vote,
        typer.Option(
            help="`majority`, or `weighted` by each teacher's reliability (Dawid-Skene).",
            rich_help_panel=_TEACHERS,
        ),
    ] = Vote.MAJORITY,
    on_tie: Annotated[
        OnTie,
        typer.Option(
            help="What a tie or a record without votes becomes.", rich_help_panel=_TEACHERS
        ),
    ] = OnTie.SYSTEM2,
    role_play: Annotated[
        bool,
        typer.Option(
            "--role-play/--no-role-play",
            help="Let the teachers play the student.",
            rich_help_panel=_TEACHERS,
        ),
    ] = True,
    student: Annotated[
        str | None,
        typer.Option(
            help="Whom the teachers play. Default: the model's name.", rich_help_panel=_TEACHERS
        ),
    ] = None,
    student_description: Annotated[
        str | None,
        typer.Option(
            help="A sentence about the student, for the prompt.", rich_help_panel=_TEACHERS
        ),
    ] = None,
    prompt_template: Annotated[
        Path | None,
        typer.Option(help="File with another prompt template.", rich_help_panel=_TEACHERS),
    ] = None,
    teachers_file: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with your own teachers under `teachers:`.", rich_help_panel=_TEACHERS
        ),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            help="JSON Lines with `id` and a person's `label`, which then holds.",
            rich_help_panel=_TEACHERS,
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1, help="Most requests in flight for each teacher.", rich_help_panel=_ASKING
        ),
    ] = 16,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds after which a request counts as hung.", rich_help_panel=_ASKING
        ),
    ] = 120.0,
    retries: Annotated[
        int,
        typer.Option(
            min=0, help="Times that a failed question is tried again.", rich_help_panel=_ASKING
        ),
    ] = 8,
    economy: Annotated[
        bool,
        typer.Option(
            "--economy",
            help="Ask no teacher whose vote cannot change the label any more.",
            rich_help_panel=_ASKING,
        ),
    ] = False,
    min_votes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Votes that suffice for a record if a teacher fails. Default: all teachers.",
            rich_help_panel=_ASKING,
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="US dollars that all answers to these questions may cost.",
            rich_help_panel=_ASKING,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what the asking would take, and one prompt; ask and write nothing.",
            rich_help_panel=_ASKING,
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use only the first so many records.", rich_help_panel=_DATA),
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of the records kept apart for `eval`, at most 500 records; 0 for none.",
            rich_help_panel=_DATA,
        ),
    ] = 0.05,
    format: Annotated[
        str,
        typer.Option(
            help="What the data's fields mean: gsm8k, alpaca, dolly, mmlu, humaneval, messages, "
            "completion; `auto` goes by the fields of each record.",
            rich_help_panel=_DATA,
        ),
    ] = "auto",
    prompt_field: Annotated[
        str | None,
        typer.Option(
            help="Field with the prompt; with `--completion-field`.", rich_help_panel=_DATA
        ),
    ] = None,
    completion_field: Annotated[
        str | None,
        typer.Option(
            help="Field with the completion; with `--prompt-field`.", rich_help_panel=_DATA
        ),
    ] = None,
    id_field: Annotated[
        str, typer.Option(help="Field with the record's id.", rich_help_panel=_DATA)
    ] = "id",
    split: Annotated[
        str, typer.Option(help="Split of a folder or hub data set.", rich_help_panel=_DATA)
    ] = "train",
    subset: Annotated[
        str | None,
        typer.Option(help="Configuration of a hub data set.", rich_help_panel=_DATA),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out lines that are no records, and count them.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Label records as System 1 or System 2 by the votes of several teachers."""
    from lorapar_cli.labelling.classify import classify as stage
    from lorapar_cli.labelling.cost_estimate import CostEstimate
    from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
    from lorapar_cli.store.run_dir import RunDir

    try:
        with progress_display() as progress:
            outcome = stage(
                RunDir(run_dir),
                data=data,
                teachers=split_list(teachers, "--teachers") if teachers else [],
                model=model,
                limit=limit,
                holdout=holdout,
                seed=seed,
                strategy=strategy.value,
                share=share,
                vote=vote.value,
                on_tie=on_tie.value,
                economy=economy,
                min_votes=min_votes,
                review=review,
                role_play=role_play,
                student=student,
                student_description=student_description,
                prompt_template=prompt_template,
                teachers_file=teachers_file,
                format=format,
                prompt_field=prompt_field,
                completion_field=completion_field,
                id_field=id_field,
                split=split,
                subset=subset,
                skip_bad=skip_bad,
                trust_remote_code=trust_remote_code,
                policy=RequestPolicy(concurrency, timeout, retries, max_cost),
                dry_run=dry_run,
                out=out,
                given=given_options(ctx),
                progress=progress,
            )
    except KeyboardInterrupt:
        say("the answers so far are kept: the same command goes on from here")
        raise
    if isinstance(outcome, CostEstimate):
        _show_estimate(outcome, as_json)
        return None
    show_outcome(outcome, as_json, _render, "lorapar score")
    return outcome


def _show_estimate(estimate: Any, as_json: bool) -> None:
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(estimate), ensure_ascii=False))
        return
    from rich.table import Table

    for note in estimate.notes:
        say(f"note: {note}")
    table = Table(title="what would be asked")
    table.add_column("teacher")
    columns = ("questions", "from journal", "prompt tokens", "answer tokens", "US dollars")
    for name in (*columns, "prices of"):
        table.add_column(name, justify="right")
    for name, row in estimate.rows.items():
        numbers = (row["questions"], row["from_journal"], row["prompt_tokens"])
        table.add_row(
            name,
            *(f"{number:,}" for number in numbers),
            f"{row['completion_tokens']:,}",
            _money(row["cost"]),
            row["price_date"] or "",
        )
    stdout().print(table)
    for message in estimate.messages:
        print(f"\n[{message['role']}]\n{message['content']}")
    say("dry run: nothing was asked or written")


def _money(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"


def _render(manifest: Manifest) -> list:
    from rich.table import Table

    counts, metrics = manifest.counts, manifest.metrics
    labels = Table(title="labels")
    shown = ("records", "system1", "system2", "heldout", "undecided", "contested", "dropped")
    for name in shown:
        labels.add_column(name, justify="right")
    labels.add_row(*(str(counts[name]) for name in shown))
    return [
        labels,
        *([_votes_table(counts, metrics)] if counts["teachers"] else []),
        *_lines(counts, metrics),
    ]


def _votes_table(counts: dict[str, Any], metrics: dict[str, Any]):
    from rich.table import Table

    accuracy = metrics.get("accuracy", {})
    columns = ["system1", "system2", "no_vote", "asked", "from_journal"]
    paid = any(row["prompt_tokens"] for row in counts["teachers"].values())
    columns += ["prompt_tokens", "completion_tokens"] if paid else []
    votes = Table(title="votes")
    votes.add_column("teacher")
    for name in columns:
        votes.add_column(name.replace("_", " "), justify="right")
    if paid:
        votes.add_column("US dollars", justify="right")
    if accuracy:
        votes.add_column("accuracy", justify="right")
    for name, row in counts["teachers"].items():
        cells = [str(row[column]) for column in columns]
        cells += [_money(row["cost"])] if paid else []
        cells += [f"{accuracy[name]:.3f}"] if accuracy else []
        votes.add_row(name, *cells)
    return votes


def _lines(counts: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    lines = []
    if metrics["krippendorff_alpha"] is not None:
        pairs = ", ".join(
            f"{pair.replace('|', ' and ')} {value:.2f}"
            for pair, value in metrics["pairwise_agreement"].items()
            if value is not None
        )
        lines.append(f"Krippendorff's alpha {metrics['krippendorff_alpha']:.3f}; agree: {pairs}")
    for name, hits in metrics.get("reliability", {}).items():
        lines.append(
            f"reliability of {name}: {hits['system1']:.3f} on System 1, "
            f"{hits['system2']:.3f} on System 2"
        )
    if accuracy := metrics.get("accuracy"):
        lines.append(
            f"accuracy of the vote by the data's own labels: {accuracy['vote']:.3f} "
            f"({accuracy['records']} records)"
        )
    saved = {name: count for name, count in counts["requests_saved"].items() if count}
    if saved:
        listed = ", ".join(f"{n} by {name.replace('_', ' ')}" for name, n in saved.items())
        lines.append(f"requests saved: {listed}")
    return lines
