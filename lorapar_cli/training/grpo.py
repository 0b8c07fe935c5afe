"""Masked GRPO through TRL's GRPOTrainer.

How this differs from a plain TRL run:
1. The optimizer owns only the active elements (`training.masking.masked_trainer.MaskedTrainer`).
2. Prompts are rendered as `models.rendering.tokenization` renders them for scoring and SFT.
3. Rewards are plain functions (`training.rewards`); one that raises, or returns the wrong number of
   values or a value that is not finite, stops the run with its name, instead of being broadcast or
   ignored.
4. Every completion is kept, with the value that each reward gave it.
"""

import importlib.util
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer
from trl import GRPOConfig, GRPOTrainer

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.libraries import require_libraries
from lorapar_cli.models.generation import end_tokens
from lorapar_cli.models.rendering.tokenization import in_blocks, trainer_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.training import (
    PassFilter,
    RateMetrics,
    RefillCost,
    RlFigures,
    RlMetrics,
    RlRecord,
    TrainedRecords,
)
from lorapar_cli.store.records import Record, read_jsonl
from lorapar_cli.training.callbacks import CLIPPED, ZeroSpreadMonitor
from lorapar_cli.training.jobs import Preparation, Trained, TrainingRun
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.recipes.find_rate import Trials
from lorapar_cli.training.recipes.held_out import held_out_rewards
from lorapar_cli.training.recipes.refill import Refill, RefillingTrainer, total_cost
from lorapar_cli.training.rewards.completion_log import CompletionLog, trl_reward
from lorapar_cli.training.rewards.load import WeightedRewards
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
    logged,
)

# Share of completions that reached the limit from which a note says so.
_CLIPPED_NOTED = 0.1
_SPREAD = "reward_std_group"
SHOWN = {
    "reward": "reward",
    CLIPPED: "clipped",
    _SPREAD: "spread",
    "frac_reward_zero_std": "flat",
    "completions/mean_length": "length",
    "kl": "kl",
}


Fit = Callable[
    [
        TrainingRun,
        PreTrainedTokenizerBase,
        list[Record],
        WeightedRewards,
        RlOptions,
        dict[str, Any],
    ],
    RlFigures,
]
"""A function as `fit_grpo`."""


class MaskedGRPOTrainer(MaskedTrainer, RefillingTrainer, GRPOTrainer):
    """TRL's GRPOTrainer whose optimizer owns the active elements of `masked`.

    It also logs `reward_std_group`, the mean over groups of the standard deviation within one, which
    is what advantages are divided by; TRL logs that of the whole batch.
    """

    def __init__(
        self, masked: MaskedModel, completions: CompletionLog, refill: Refill | None, **kwargs: Any
    ) -> None:
        self.masked, self.completion_log, self.refill = masked, completions, refill
        super().__init__(model=masked.model, **kwargs)
        self.keep_float32()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs a step's figures."""
        # The closing summary of a run is not a step.
        if self.completion_log.spread is not None and "train_runtime" not in logs:
            logs = logs | {_SPREAD: self.completion_log.spread}
        super().log(logs, start_time)


def to_dataset(records: list[Record], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Returns rows of `prompt` (messages or text), `record_id`, `reference_answer`,
    `reference_answers`, the list of all that are accepted, and `in_block`, whether completions begin
    inside a block of reasoning.
    """
    in_block = in_blocks(tokenizer, records)
    return Dataset.from_list(
        [
            {
                "prompt": trainer_prompt(tokenizer, record.prompt),
                "record_id": record.id,
                "reference_answer": record.reference_answer,
                "reference_answers": record.accepted_answers,
                "in_block": inside,
            }
            for record, inside in zip(records, in_block, strict=True)
        ]
    )


def fit_grpo(
    run: TrainingRun,
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    rewards: WeightedRewards,
    options: RlOptions,
    extra: dict[str, Any],
) -> RlFigures:
    """Trains the run's model in place; returns steps, reward, and share of completions cut off.

    The last two are None where the user's logging settings left them out.

    Args:
        rewards: Name -> reward and weight.
        extra: Trainer arguments that the user added with `--training`.
    """
    own = common_arguments(options, run.work, run.device) | {
        "reward_weights": [weight for _, weight in rewards.values()]
    }
    if options.vllm is not None:
        own |= _vllm_arguments(options.vllm)
    config = build_config(GRPOConfig, own, extra)
    _require_a_step(config, len(records))
    _require_whole_generations(config)
    log = CompletionLog(
        run.open_log(Artifact.COMPLETIONS),
        {name: weight for name, (_, weight) in rewards.items()},
        _resolved(config.num_generations),
        run.progress,
    )
    monitor = ZeroSpreadMonitor(
        options.patience_steps, options.stop_without_spread, run.notes, run.progress
    )
    rows, refill = to_dataset(records, tokenizer), None
    if options.refill:
        ids = [record.id for record in records]
        cost = run.open_log(Artifact.REFILL)
        refill = Refill(
            rows, ids, _resolved(config.num_generations), options.refill_limit, options.seed, cost
        )
    ends = end_tokens(run.masked.model, tokenizer)
    with checked_arguments(extra):
        trainer = MaskedGRPOTrainer(
            run.masked,
            log,
            refill,
            args=config,
            reward_funcs=[
                trl_reward(name, reward, log, ends) for name, (reward, _) in rewards.items()
            ],
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[monitor],
        )
    run.run_trainer(trainer)
    figures = rl_figures(trainer, options, run.notes)
    if options.refill and run.main:
        figures["refill"] = _refill_cost(run.work / Artifact.REFILL, options, run.notes)
    return figures


def rl_figures(trainer: Trainer, options: RlOptions, notes: list[str]) -> RlFigures:
    """Returns what a finished training measured; notes that many completions were cut off."""
    rewarded, clipped = logged(trainer, "reward"), logged(trainer, CLIPPED)
    share = statistics.fmean(clipped) if clipped else None
    if share is not None and share >= _CLIPPED_NOTED:
        notes.append(
            f"{share:.0%} of completions were cut off at {counted(options.max_completion_length, 'token')}; "
            "raise `--max-completion-length`, or the answers of the rest are never rewarded"
        )
    return {
        "steps": trainer.state.global_step,
        "reward": rewarded[-1] if rewarded else None,
        "clipped": share,
    }


def _refill_cost(path: Path, options: RlOptions, notes: list[str]) -> RefillCost:
    """Returns what refilling cost in all steps; notes that some groups stayed without a spread."""
    cost = total_cost(line for _, line in read_jsonl(path))
    if cost["flat"]:
        notes.append(
            f"{cost['flat']:,} of {counted(cost['groups'], 'group')} "
            f"{inflected(cost['flat'], 'was', 'were')} trained on without a spread: "
            f"{counted(options.refill_limit, 'round')} of further prompts found no more, or there "
            "were no more"
        )
    return cost


def rate_trials(
    tokenizer: PreTrainedTokenizerBase,
    rewards: WeightedRewards,
    options: RlOptions,
    extra: dict[str, Any],
    preparation: Preparation,
    held_out: list[Record],
    records: list[Record],
) -> Trials:
    """Returns how learning rates are tried on some prompts and measured by the reward of others."""
    room, processes = preparation.job.base.max_length, preparation.launch.processes
    return Trials(
        "reward",
        lambda run, small: fit_grpo(run, tokenizer, records, rewards, small, extra),
        lambda model: held_out_rewards(
            model, tokenizer, held_out, rewards, options, room, processes
        ),
    )


def to_record(
    counts: TrainedRecords,
    trained: Trained[RlFigures],
    rate: RateMetrics,
    pass_filter: PassFilter | None,
) -> RlRecord:
    """Returns the stage's record of a finished run."""
    metrics: RlMetrics = {**trained.launch, **trained.figures, **rate, **trained.watched}
    if pass_filter is not None:
        metrics["pass_filter"] = pass_filter
    return RlRecord({**counts, **trained.elements}, metrics)


def _require_whole_generations(config: GRPOConfig) -> None:
    """Refuses checkpoints within a generation: its completions are not saved with them."""
    per_generation = _resolved(config.steps_per_generation)
    batches = per_generation * config.num_iterations
    if config.save_steps * config.gradient_accumulation_steps % batches:
        every = batches // math.gcd(batches, config.gradient_accumulation_steps)
        raise UsageError(
            f"`--save-steps {config.save_steps:g}` falls within one generation",
            f"completions are used for {counted(per_generation, 'batch', 'batches')}, "
            f"{counted(config.num_iterations, 'time')}, and "
            "a run cannot resume in between",
            f"give a multiple of {every}",
        )


def _require_a_step(config: GRPOConfig, records: int) -> None:
    """Refuses data too small for one step: TRL's sampler skips incomplete batches."""
    completions = _resolved(config.generation_batch_size)
    group = _resolved(config.num_generations)
    if records < completions // group:
        raise LoraparError(
            f"{counted(records, 'record')} {inflected(records, 'is', 'are')} fewer than the "
            f"{counted(completions // group, 'prompt')} of one step",
            f"{counted(completions, 'completion')} per step, {group} per prompt",
            "lower `--per-device-batch-size` or `--gradient-accumulation`, or give more records",
        )


def _resolved(size: int | None) -> int:
    if size is None:
        raise AssertionError("TRL's configuration has left a size open")
    return size


def _vllm_arguments(mode: str) -> dict[str, Any]:
    """Returns the arguments for generation by vLLM, in this process or on a server.

    Raises:
        LoraparError: vLLM is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise LoraparError(
            f"`--vllm {mode}` needs vLLM", hint="install it with `pip install 'lorapar[vllm]'`"
        )
    require_libraries(["vllm"], f"`--vllm {mode}`")
    return {"use_vllm": True, "vllm_mode": mode}
