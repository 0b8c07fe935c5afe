"""Masked GRPO through TRL's GRPOTrainer.

How this differs from a plain TRL run:
1. The optimizer owns the active elements only (`training.masking.masked_trainer.MaskedTrainer`).
2. Prompts are rendered as `models.tokenization` renders them for scoring and SFT.
3. Rewards are plain functions of `training.rewards.builtin`; one that raises, returns a wrong number of values
   or a value that is not finite stops the run with its name, instead of being broadcast or
   ignored.
4. Every completion is kept, with what each reward gave it.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Note, Progress
from lorapar_cli.models.tokenization import trainer_prompt
from lorapar_cli.store.records import Record
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.callbacks import ZeroSpreadMonitor
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.rewards.builtin import Reward
from lorapar_cli.training.rewards.load import checked_rewards
from lorapar_cli.training.run import TrainingRun
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
    logged,
)

SAMPLE_STEPS = 20
SAMPLE_CHARACTERS = 300
SHOWN = {
    "reward": "reward",
    "reward_std": "spread",
    "frac_reward_zero_std": "flat",
    "completions/mean_length": "length",
    "kl": "kl",
}


class MaskedGRPOTrainer(MaskedTrainer, GRPOTrainer):
    """TRL's GRPOTrainer whose optimizer owns the active elements of `masked`."""

    def __init__(self, masked: MaskedModel, **kwargs) -> None:
        self.masked = masked
        super().__init__(model=masked.model, **kwargs)
        self.keep_float32()


def to_dataset(records: list[Record], tokenizer) -> Dataset:
    """Returns rows of `prompt` (messages or text), `record_id` and `reference_answer`."""
    return Dataset.from_list(
        [
            {
                "prompt": trainer_prompt(tokenizer, record.prompt),
                "record_id": record.id,
                "reference_answer": record.reference_answer,
            }
            for record in records
        ]
    )


class CompletionLog:
    """Collects the rewards of a batch and writes its completions once all are in.

    Args:
        log: `completions.jsonl`; None in processes that write nothing.
        names: The rewards, in the order in which the trainer calls them.
        progress: Where a sample is shown now and then.
    """

    def __init__(self, log: StepLog | None, names: list[str], progress: Progress) -> None:
        self._log, self._names, self._progress = log, names, progress
        self._pending: dict[str, list[float]] = {}

    def add(self, name: str, values: list[float], ids: list[str], texts: list[str], state) -> None:
        """Takes one reward's values for the batch; writes lines, of all processes, with the last."""
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
        if self._log is not None:
            self._log.append(lines)
            if state.global_step % SAMPLE_STEPS == 0:
                self._progress(Note(_describe_sample(lines[0])))


def _describe_sample(line: dict) -> str:
    rewards = ", ".join(f"{name} {value:.3g}" for name, value in line["rewards"].items())
    text = line["completion"]
    shown = text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS] + "..."
    return f"step {line['step']}, a completion of `{line['id']}` ({rewards}): {shown!r}"


def trl_reward(name: str, reward: Reward, log: CompletionLog) -> Callable[..., list[float]]:
    """Returns `reward` as TRL calls it, checked and logged."""

    def compute(completions, **columns) -> list[float]:
        texts = [text_of(completion) for completion in completions]
        values = checked_rewards(name, reward, texts, columns["reference_answer"], columns)
        log.add(name, values, columns["record_id"], texts, columns["trainer_state"])
        return values

    compute.__name__ = name
    return compute


def text_of(completion) -> str:
    """Returns a completion's text from TRL's conversational or plain form."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def train(
    run: TrainingRun,
    tokenizer,
    records: list[Record],
    rewards: dict[str, tuple[Reward, float]],
    options: RlOptions,
    extra: dict[str, Any],
) -> dict[str, float]:
    """Trains the run's model in place; returns steps and the last step's mean reward.

    The reward is None where the user's logging settings left it out.

    Args:
        rewards: Name -> reward and weight.
    """
    own = common_arguments(options, run.work, run.device) | {
        "num_generations": options.num_generations,
        "max_completion_length": options.max_completion_length,
        "temperature": options.temperature,
        "beta": options.kl_beta,
        "adam_beta2": options.adam_beta2,
        "reward_weights": [weight for _, weight in rewards.values()],
    }
    if options.vllm is not None:
        own |= _vllm_arguments(options.vllm)
    config = build_config(GRPOConfig, own, extra)
    _require_a_step(config, len(records))
    _require_whole_generations(config)
    log = CompletionLog(run.open_log("completions.jsonl"), list(rewards), run.callback.progress)
    with checked_arguments(extra):
        trainer = MaskedGRPOTrainer(
            run.masked,
            args=config,
            reward_funcs=[trl_reward(name, reward, log) for name, (reward, _) in rewards.items()],
            train_dataset=to_dataset(records, tokenizer),
            processing_class=tokenizer,
            callbacks=[
                ZeroSpreadMonitor(
                    options.patience_steps,
                    options.stop_without_spread,
                    run.notes,
                    run.callback.progress,
                )
            ],
        )
    run.fit(trainer)
    rewarded = logged(trainer, "reward")
    return {"steps": trainer.state.global_step, "reward": rewarded[-1] if rewarded else None}


def _require_whole_generations(config: GRPOConfig) -> None:
    """Refuses checkpoints inside of what is generated at once: completions are not saved there."""
    generated = config.steps_per_generation * config.num_iterations
    if config.save_steps * config.gradient_accumulation_steps % generated:
        every = generated // math.gcd(generated, config.gradient_accumulation_steps)
        raise UsageError(
            f"`--save-steps {config.save_steps:g}` falls inside of one generation",
            f"completions are used for {config.steps_per_generation} batches "
            f"{config.num_iterations} times over, and a run could not go on from the middle",
            f"give a multiple of {every}",
        )


def _require_a_step(config: GRPOConfig, records: int) -> None:
    """Refuses data that TRL's sampler, which leaves out incomplete batches, makes no step of."""
    wanted = config.generation_batch_size // config.num_generations
    if records < wanted:
        raise LoraparError(
            f"{records} records are fewer than the {wanted} prompts of one step",
            f"{config.generation_batch_size} completions a step, {config.num_generations} a prompt",
            "lower `--per-device-batch-size` or `--gradient-accumulation`, or give more records",
        )


def _vllm_arguments(mode: str) -> dict[str, Any]:
    """Returns the arguments for generation by vLLM, in this process or by a server.

    Raises:
        LoraparError: vLLM is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise LoraparError(f"`--vllm {mode}` needs vLLM", hint="pip install 'lorapar[vllm]'")
    return {"use_vllm": True, "vllm_mode": mode}
