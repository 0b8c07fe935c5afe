"""`lorapar train-sft`."""

from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli import training_options as t
from lorapar_cli.cli.console import (
    progress_display,
    show_dry_run,
    show_outcome,
    stdout,
    two_columns,
)
from lorapar_cli.cli.options import (
    JsonOption,
    ModelOption,
    OutOption,
    RunDirOption,
    SeedOption,
    TemplateOption,
    TrustOption,
    given_options,
)
from lorapar_cli.launcher import is_main
from lorapar_cli.models.chat_template import read_template
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR
from lorapar_cli.training.options import SftOptions

_DEFAULT = SftOptions()
_NONE: list[str] = []


def train_sft(
    ctx: typer.Context,
    learning_rate: t.LearningRate = _DEFAULT.learning_rate,
    epochs: t.Epochs = _DEFAULT.epochs,
    max_steps: t.MaxSteps = _DEFAULT.max_steps,
    per_device_batch_size: t.BatchSize = _DEFAULT.per_device_batch_size,
    gradient_accumulation: t.Accumulation = _DEFAULT.gradient_accumulation,
    scheduler: t.Scheduler = _DEFAULT.scheduler,
    warmup: t.Warmup = _DEFAULT.warmup,
    weight_decay: t.WeightDecay = _DEFAULT.weight_decay,
    max_grad_norm: t.MaxGradNorm = _DEFAULT.max_grad_norm,
    optimizer: t.Optimizer = _DEFAULT.optimizer,
    lora_dropout: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Dropout before the LoRA matrices.")
    ] = _DEFAULT.lora_dropout,
    max_length: Annotated[
        int,
        typer.Option(min=2, help="Tokens of prompt and completion; longer records are left out."),
    ] = _DEFAULT.max_length,
    replay: t.Replay = _DEFAULT.replay,
    gradient_checkpointing: t.Checkpointing = _DEFAULT.gradient_checkpointing,
    save_steps: t.SaveSteps = _DEFAULT.save_steps,
    dtype: t.Dtype = _DEFAULT.dtype,
    quantize: t.Quantize = None,
    seed: SeedOption = _DEFAULT.seed,
    data: t.Data = _DEFAULT.data,
    report_to: t.ReportTo = _DEFAULT.report_to,
    template: TemplateOption = None,
    training: t.Training = _NONE,
    splits: t.Splits = None,
    mask: t.Mask = None,
    from_: t.From = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Adapter folder to start from. Default: score's.", rich_help_panel="Where"
        ),
    ] = None,
    model: ModelOption = None,
    out: OutOption = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    overwrite: t.Overwrite = False,
    dry_run: t.DryRun = False,
    show_tokens: Annotated[
        int, typer.Option(min=0, help="Show so many records, the tokens that carry loss marked.")
    ] = 0,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
):
    """Train the elements active in SFT on System-1 records (stage 4)."""
    from lorapar_cli.store.run_dir import RunDir
    from lorapar_cli.training.train_sft import train_sft as stage

    options = t.collect(SftOptions, locals() | {"template": read_template(template)})
    with progress_display() as progress:
        outcome = stage(
            RunDir(run_dir),
            options,
            splits=splits,
            mask=mask,
            start=from_.value if from_ else None,
            adapter=adapter,
            model=model,
            out=out,
            overwrite=overwrite,
            dry_run=dry_run,
            show_tokens=show_tokens,
            show=_show_tokens,
            trust_remote_code=trust_remote_code,
            given=given_options(ctx),
            progress=progress,
        )
    if dry_run:
        show_dry_run(outcome, as_json, t.dry_run_tables)
        return outcome
    show_outcome(outcome, as_json, _render, "lorapar train-rl")
    return outcome


def _show_tokens(records: list) -> None:
    """Prints records token by token; those that carry loss stand in brackets."""
    if not is_main():
        return  # Of the processes of one launch the first speaks.
    console = stdout()
    console.print("records as tokens; [in brackets]: carries loss", markup=False)
    for tokens in records:
        parts = [f"[{text!r}]" if loss else repr(text) for text, loss in tokens]
        console.print(" ".join(parts), markup=False)


def _render(manifest) -> list:
    rows = t.training_rows(manifest)
    rows.insert(2, ("mean loss", f"{manifest.metrics['loss']:.3f}"))
    return [two_columns(f"SFT on {t.records_trained_on(manifest)}", rows)]
