"""`lorapar train-rl`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli import training_options as t
from lorapar_cli.cli.console import progress_display, show_dry_run, show_outcome, two_columns
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
from lorapar_cli.models.chat_template import read_template
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR
from lorapar_cli.training.options import RlOptions

_DEFAULT = RlOptions()
_NONE: list[str] = []


class Vllm(StrEnum):
    """Where vLLM generates."""

    COLOCATE = "colocate"
    SERVER = "server"


def train_rl(
    ctx: typer.Context,
    learning_rate: t.LearningRate = _DEFAULT.learning_rate,
    epochs: t.Epochs = _DEFAULT.epochs,
    max_steps: t.MaxSteps = _DEFAULT.max_steps,
    per_device_batch_size: Annotated[
        int, typer.Option(min=1, help="Completions a device handles at once.")
    ] = _DEFAULT.per_device_batch_size,
    gradient_accumulation: t.Accumulation = _DEFAULT.gradient_accumulation,
    num_generations: Annotated[
        int, typer.Option(min=2, help="Completions a prompt: GRPO's group size.")
    ] = _DEFAULT.num_generations,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Sampling temperature of the completions.")
    ] = _DEFAULT.temperature,
    kl_beta: Annotated[
        float,
        typer.Option(min=0.0, help="Weight of the KL divergence from the starting adapter (beta)."),
    ] = _DEFAULT.kl_beta,
    rewards: Annotated[
        str,
        typer.Option(
            help="Rewards with weights, `answer=2,format=0.5`, or `paper`. Known: answer, integer, "
            "format, format-strict, format-soft, tags, choice, latex, code; or a function of yours, `module.function`."
        ),
    ] = _DEFAULT.rewards,
    patience_steps: Annotated[
        int,
        typer.Option(min=1, help="Steps without any spread in the rewards before that is said."),
    ] = _DEFAULT.patience_steps,
    stop_without_spread: Annotated[
        bool, typer.Option("--stop-without-spread", help="Stop then, and publish what there is.")
    ] = _DEFAULT.stop_without_spread,
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution", help="Let the reward `code` run programs, sandboxed."
        ),
    ] = False,
    unsafe_code_execution: Annotated[
        bool,
        typer.Option("--unsafe-code-execution", help="Let it do so where there is no sandbox."),
    ] = False,
    vllm: Annotated[
        Vllm | None,
        typer.Option(help="Generate by vLLM in this process or by a server; `lorapar[vllm]`."),
    ] = None,
    scheduler: t.Scheduler = _DEFAULT.scheduler,
    warmup: t.Warmup = _DEFAULT.warmup,
    weight_decay: t.WeightDecay = _DEFAULT.weight_decay,
    adam_beta2: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="AdamW's second beta.")
    ] = _DEFAULT.adam_beta2,
    max_grad_norm: t.MaxGradNorm = _DEFAULT.max_grad_norm,
    optimizer: t.Optimizer = _DEFAULT.optimizer,
    max_prompt_length: Annotated[
        int, typer.Option(min=1, help="Tokens of a prompt; longer ones are left out.")
    ] = _DEFAULT.max_prompt_length,
    max_completion_length: Annotated[
        int, typer.Option(min=1, help="Tokens that a completion may have.")
    ] = _DEFAULT.max_completion_length,
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
            help="Adapter folder to go on from. Default: train-sft's.", rich_help_panel="Where"
        ),
    ] = None,
    model: ModelOption = None,
    out: OutOption = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    overwrite: t.Overwrite = False,
    dry_run: t.DryRun = False,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
):
    """Train the elements active in RL by GRPO on System-2 records (stage 5)."""
    from lorapar_cli.store.run_dir import RunDir
    from lorapar_cli.training.train_rl import train_rl as stage

    options = t.collect(RlOptions, locals() | {"template": read_template(template)})
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
            allow_code_execution=allow_code_execution,
            unsafe_code_execution=unsafe_code_execution,
            trust_remote_code=trust_remote_code,
            given=given_options(ctx),
            progress=progress,
        )
    if dry_run:
        show_dry_run(outcome, as_json, t.dry_run_tables)
        return outcome
    show_outcome(outcome, as_json, _render, "lorapar eval")
    return outcome


def _render(manifest) -> list:
    rows = t.training_rows(manifest)
    reward = manifest.metrics["reward"]
    if reward is not None:
        rows.insert(2, ("mean reward of the last step", f"{reward:.3f}"))
    return [two_columns(f"GRPO on {t.records_trained_on(manifest)}", rows)]
