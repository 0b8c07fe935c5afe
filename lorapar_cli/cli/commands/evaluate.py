"""`lorapar eval`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import (
    JsonOption,
    ModelOption,
    RunDirOption,
    SeedOption,
    TrustOption,
    given_options,
    split_list,
)
from lorapar_cli.errors import UsageError
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


def evaluate(
    ctx: typer.Context,
    task: Annotated[
        str, typer.Option(help="What to evaluate on: data (own records), gsm8k, mmlu, humaneval.")
    ] = "data",
    data: Annotated[
        str | None,
        typer.Option(
            help="The task's file, folder or hub id. Default: for `data` the records that "
            "`classify` held out, for the others the published set on the hub."
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
    style: Annotated[
        str,
        typer.Option(
            help="Prompts: `trained`, through the model's chat template, or `harness`, the text "
            "of lm-evaluation-harness."
        ),
    ] = "trained",
    num_fewshot: Annotated[
        int | None,
        typer.Option(
            min=0, help="Examples before each question. Default: 5 for mmlu and in style harness."
        ),
    ] = None,
    fewshot_data: Annotated[
        str | None, typer.Option(help="Where the examples come from, where `--data` is a file.")
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            help="When a completion of own records is right: answer (its final answer), latex "
            "(the same as mathematics, extra `latex`), exact (the whole text) or choice (an "
            "option's letter)."
        ),
    ] = "answer",
    completions: Annotated[
        Path | None,
        typer.Option(
            help="Judge this file's completions (JSONL: `task_id` or `id`, `completion`) and "
            "load no model."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Folder of the result inside `eval/`. Default: `heldout`, the data file's stem "
            "or the task's name.",
            rich_help_panel="Where",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask the first so many records only.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens after which a completion is cut.")
    ] = 256,
    samples: Annotated[
        int, typer.Option(min=1, help="Completions of each record, for pass@k and maj@k.")
    ] = 1,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest token, above 0 tokens are drawn.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens of this probability."),
    ] = 1.0,
    k: Annotated[str, typer.Option(help="k of pass@k and maj@k, comma-separated.")] = "1",
    backend: Annotated[
        str,
        typer.Option(
            help="What asks: transformers, vllm (extra `vllm`, GPUs), or lm-eval, the harness itself "
            "(extra `harness`)."
        ),
    ] = "transformers",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Prompts that are completed at once.")
    ] = 64,
    dtype: Annotated[
        str, typer.Option(help="Of the base model: auto, float32, bfloat16 or float16.")
    ] = "auto",
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution", help="Run what the model wrote, in a sandbox (humaneval)."
        ),
    ] = False,
    unsafe_code_execution: Annotated[
        bool,
        typer.Option(
            "--unsafe-code-execution",
            help="Run it even where this machine offers no sandbox. For disposable machines.",
        ),
    ] = False,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> Outcome:
    """Measure the base model and every adapter: accuracy by system, with 95 % intervals."""
    from lorapar_cli.evaluation import evaluate as stage

    drawing = stage.Drawing(max_new_tokens, samples, temperature, top_p, _parse_ks(k), seed)
    with progress_display() as progress:
        outcome = stage.evaluate(
            RunDir(run_dir),
            task=task,
            data=data,
            fewshot_data=fewshot_data,
            num_fewshot=num_fewshot,
            style=style,
            match=match,
            completions=completions,
            name=name,
            adapter=None if adapter is None else split_list(adapter, "--adapter"),
            model=model,
            drawing=drawing,
            backend=backend,
            batch_size=batch_size,
            limit=limit,
            dtype=dtype,
            allow_code_execution=allow_code_execution,
            unsafe_code_execution=unsafe_code_execution,
            trust_remote_code=trust_remote_code,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, render, None)
    return outcome


def _parse_ks(text: str) -> tuple[int, ...]:
    parts = split_list(text, "--k")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError("`--k` is a list of whole numbers above 0", text)
    return tuple(sorted(int(part) for part in parts))


def render(manifest: Manifest) -> list:
    """Returns the tables of an evaluation: accuracy by model, and differences by pair."""
    tables = [_accuracy_table(manifest)]
    tables += [
        _group_table(manifest, kind)
        for kind in ("steps", "subject")
        if f"by_{kind}" in manifest.metrics["models"][0]
    ]
    if manifest.metrics["pairs"]:
        tables.append(_difference_table(manifest))
    return tables


def _accuracy_table(manifest: Manifest) -> Any:
    from rich.table import Table

    models = manifest.metrics["models"]
    # Own answers may be words, which the strict rule never takes: it stays in results.json.
    hidden = None if manifest.settings["task"] == "gsm8k" else "strict match"
    columns = [column for column in _columns(models[0]) if column != hidden]
    table = Table(title=f"accuracy on {manifest.counts['items']:,} records, 95 % intervals")
    table.add_column("model")
    for heading in columns:
        table.add_column(heading, justify="right")
    for entry in models:
        table.add_row(entry["model"], *(_share(_columns(entry)[column]) for column in columns))
    return table


def _group_table(manifest: Manifest, kind: str) -> Any:
    from rich.table import Table

    models = manifest.metrics["models"]
    table = Table(title=f"accuracy by {kind}")
    for heading in (kind, "records", *(entry["model"] for entry in models)):
        table.add_column(heading, justify="left" if heading == kind else "right")
    for group, part in models[0][f"by_{kind}"].items():
        shares = [_share(entry[f"by_{kind}"][group]) for entry in models]
        table.add_row(group, f"{part['n']:,}", *shares)
    return table


def _columns(entry: dict) -> dict[str, dict]:
    """Returns heading -> accuracy of one model's row."""
    columns = {"all": entry}
    if "strict" in entry:
        columns["strict match"] = entry["strict"]
    if "macro_accuracy" in entry:
        columns["mean of subjects"] = {"accuracy": entry["macro_accuracy"]}
    for kind in ("by_system", "by_group"):
        columns |= {_heading(group): part for group, part in entry.get(kind, {}).items()}
    for kind, label in (("pass_at_k", "pass@"), ("maj_at_k", "maj@")):
        columns |= {f"{label}{k}": part for k, part in entry.get(kind, {}).items()}
    return columns


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
    return system.replace("system", "System ").replace("_", " ")


def _share(part: dict) -> str:
    share = f"{100 * part['accuracy']:.1f}"
    if "interval" not in part:
        return share
    low, high = part["interval"]
    return f"{share} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(part: dict) -> str:
    low, high = part["interval"]
    p = part["p_value"]
    shown = "p<.001" if p < 0.001 else f"p={p:.3f}".replace("=0.", "=.")
    return f"{100 * part['difference']:+.1f} [{100 * low:.1f}, {100 * high:.1f}] {shown}"
