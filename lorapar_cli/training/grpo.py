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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState
from trl import GRPOConfig, GRPOTrainer

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Note, Progress
from lorapar_cli.models.rendering.tokenization import trainer_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.stage_records.training import RlFigures, RlRecord, TrainedRecords
from lorapar_cli.store.records import Record
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.callbacks import CLIPPED, ZeroSpreadMonitor
from lorapar_cli.training.jobs import Trained, TrainingRun
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.rewards.builtin import Reward
from lorapar_cli.training.rewards.load import UserReward, WeightedRewards, call_reward
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
    logged,
)

SAMPLE_STEPS = 20
SAMPLE_CHARACTERS = 300
# Share of completions that reached the limit from which a note says so.
_CLIPPED_NOTED = 0.1
_SPREAD = "reward_std_group"
SHOWN = {
    "reward": "reward",
    _SPREAD: "spread",
    "frac_reward_zero_std": "flat",
    "completions/mean_length": "length",
    CLIPPED: "clipped",
    "kl": "kl",
}


class MaskedGRPOTrainer(MaskedTrainer, GRPOTrainer):
    """TRL's GRPOTrainer whose optimizer owns the active elements of `masked`.

    It also logs `reward_std_group`, the mean over groups of the standard deviation within one, which
    is what advantages are divided by; TRL logs that of the whole batch.
    """

    def __init__(self, masked: MaskedModel, completions: "CompletionLog", **kwargs: Any) -> None:
        self.masked, self._completions = masked, completions
        super().__init__(model=masked.model, **kwargs)
        self.keep_float32()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs a step's figures."""
        # The closing summary of a run is not a step.
        if self._completions.spread is not None and "train_runtime" not in logs:
            logs = logs | {_SPREAD: self._completions.spread}
        super().log(logs, start_time)


def to_dataset(records: list[Record], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Returns rows of `prompt` (messages or text), `record_id`, `reference_answer` and
    `reference_answers`, the list of all that are accepted.
    """
    return Dataset.from_list(
        [
            {
                "prompt": trainer_prompt(tokenizer, record.prompt),
                "record_id": record.id,
                "reference_answer": record.reference_answer,
                "reference_answers": record.accepted_answers,
            }
            for record in records
        ]
    )


class CompletionLog:
    """Collects the rewards of a batch and writes its completions once all are in.

    Args:
        log: `completions.jsonl`; None in processes that write nothing.
        weights: Weight of each reward, in the order in which the trainer calls them.
        group: Completions per prompt, which follow one another.
        progress: Where a sample is shown now and then.

    Attributes:
        spread: Of the latest batch, the mean over groups of the standard deviation of rewards
            within a group; None before the first.
    """

    def __init__(
        self, log: StepLog | None, weights: Mapping[str, float], group: int, progress: Progress
    ) -> None:
        self._log, self._weights, self._group = log, weights, group
        self._names, self._progress = list(weights), progress
        self._pending: dict[str, list[float]] = {}
        self.spread: float | None = None

    def add(
        self, name: str, values: list[float], ids: list[str], texts: list[str], state: TrainerState
    ) -> None:
        """Takes one reward's values for the batch; the last one's writes all processes' lines."""
        self._pending[name] = values
        if name != self._names[-1]:
            return
        lines = gather_object(
            [
                {
                    "step": state.global_step + 1,
                    "id": record_id,
                    "completion": text,
                    "rewards": {each: self._pending[each][row] for each in self._names},
                }
                for row, (record_id, text) in enumerate(zip(ids, texts, strict=True))
            ]
        )
        sums = [
            sum(self._weights[each] * value for each, value in line["rewards"].items())
            for line in lines
        ]
        self.spread = spread_within(sums, self._group)
        if self._log is not None:
            self._log.append(lines)
            if state.global_step % SAMPLE_STEPS == 0:
                self._progress(Note(_describe_sample(lines[0])))


def spread_within(rewards: Sequence[float], group: int) -> float:
    """Returns the mean over groups of the standard deviation (n - 1) of rewards within a group.

    Args:
        rewards: Those of one group follow one another.
        group: Size of each, at least 2.
    """
    groups = [rewards[first : first + group] for first in range(0, len(rewards), group)]
    return statistics.fmean(statistics.stdev(each) for each in groups)


def _describe_sample(line: Mapping[str, Any]) -> str:
    rewards = ", ".join(f"{name} {value:.3g}" for name, value in line["rewards"].items())
    text = line["completion"]
    shown = text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS] + "..."
    return f"step {line['step']}, a completion of `{line['id']}` ({rewards}): {shown!r}"


def trl_reward(
    name: str, reward: Reward | UserReward, log: CompletionLog
) -> Callable[..., list[float]]:
    """Returns `reward` as TRL calls it, checked and logged."""

    def compute(completions: list[Any], **columns: Any) -> list[float]:
        texts = [text_of(completion) for completion in completions]
        values = call_reward(name, reward, texts, columns["reference_answer"], columns)
        log.add(name, values, columns["record_id"], texts, columns["trainer_state"])
        return values

    compute.__name__ = name
    return compute


def text_of(completion: str | list[dict[str, str]]) -> str:
    """Returns a completion's text from TRL's conversational or plain form."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


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
    with checked_arguments(extra):
        trainer = MaskedGRPOTrainer(
            run.masked,
            log,
            args=config,
            reward_funcs=[trl_reward(name, reward, log) for name, (reward, _) in rewards.items()],
            train_dataset=to_dataset(records, tokenizer),
            processing_class=tokenizer,
            callbacks=[monitor],
        )
    run.run_trainer(trainer)
    rewarded, clipped = logged(trainer, "reward"), logged(trainer, CLIPPED)
    share = statistics.fmean(clipped) if clipped else None
    if share is not None and share >= _CLIPPED_NOTED:
        run.notes.append(
            f"{share:.0%} of completions were cut off at {options.max_completion_length} tokens; "
            "raise `--max-completion-length`, or the answers of the rest are never rewarded"
        )
    return {
        "steps": trainer.state.global_step,
        "reward": rewarded[-1] if rewarded else None,
        "clipped": share,
    }


def to_record(counts: TrainedRecords, trained: Trained[RlFigures]) -> RlRecord:
    """Returns the stage's record of a finished run."""
    return RlRecord({**counts, **trained.elements}, {**trained.launch, **trained.figures})


def _require_whole_generations(config: GRPOConfig) -> None:
    """Refuses checkpoints within a generation: its completions are not saved with them."""
    per_generation = _resolved(config.steps_per_generation)
    batches = per_generation * config.num_iterations
    if config.save_steps * config.gradient_accumulation_steps % batches:
        every = batches // math.gcd(batches, config.gradient_accumulation_steps)
        raise UsageError(
            f"`--save-steps {config.save_steps:g}` falls within one generation",
            f"completions are used for {per_generation} batches, {config.num_iterations} times, and "
            "a run cannot resume in between",
            f"give a multiple of {every}",
        )


def _require_a_step(config: GRPOConfig, records: int) -> None:
    """Refuses data too small for one step: TRL's sampler skips incomplete batches."""
    completions = _resolved(config.generation_batch_size)
    group = _resolved(config.num_generations)
    if records < completions // group:
        raise LoraparError(
            f"{records} records are fewer than the {completions // group} prompts of one step",
            f"{completions} completions per step, {group} per prompt",
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
    return {"use_vllm": True, "vllm_mode": mode}
