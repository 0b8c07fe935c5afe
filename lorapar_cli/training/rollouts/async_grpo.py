"""Masked asynchronous GRPO through TRL's AsyncGRPOTrainer.

How this differs from a plain TRL run:
1. The optimizer owns only the active elements, as in all trainings here.
2. The trainer is given the adapter that training starts from; TRL's draws one.
3. Completions come from `rollouts.worker`, which weights rewards and keeps every completion.
4. Attention over packed rows is PyTorch's (`rollouts.tree_attention`), not a kernel from a hub.
5. Only the adapter is sent to the server. TRL would otherwise merge it into the base weights and
   take it out again, which rounds them.
"""

import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import read_lora_config
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.rendering.tokenization import decode_text, encode_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.stage_records.training import RlFigures
from lorapar_cli.store.records import Record
from lorapar_cli.training.grpo import rl_figures, to_dataset
from lorapar_cli.training.jobs import TrainingRun
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.rewards.completion_log import CompletionLog
from lorapar_cli.training.rewards.load import WeightedRewards
from lorapar_cli.training.rollouts.server import RolloutServer
from lorapar_cli.training.rollouts.tree_attention import forget_mask, use_tree_attention
from lorapar_cli.training.rollouts.worker import RolloutPlan, Rollouts, Row
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
)

with warnings.catch_warnings():
    # It says that its interface may change; the version of TRL is fixed.
    warnings.simplefilter("ignore")
    from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_grpo_trainer

_REPLACED = ("create_model_from_path", "add_fused_lm_head", "get_peak_flops_per_device")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class MaskedAsyncGRPOTrainer(MaskedTrainer, AsyncGRPOTrainer):
    """TRL's AsyncGRPOTrainer whose optimizer owns the active elements of `masked`."""

    def __init__(self, masked: MaskedModel, rollouts: Rollouts, **kwargs: Any) -> None:
        self.masked = masked
        use_tree_attention(masked.model)
        with _given(masked.model):
            super().__init__(model="", rollout_worker=rollouts, **kwargs)
        if not self._lora_sync:
            raise LoraparError(
                "TRL does not send this adapter to the server by itself",
                "see its warning above",
                "use `--vllm server` or `colocate`",
            )
        self.keep_float32()
        # No adapter of an earlier run, which the server may still hold, has the name.
        rollouts.model = self._lora_name = f"lorapar-{os.getpid()}-{time.time_ns()}"


@contextmanager
def _given(model: torch.nn.Module) -> Iterator[None]:
    """Has TRL's constructor train this model instead of loading one.

    Raises:
        LoraparError: The constructor does not load models as it is known to.
    """
    known: dict[str, Any] = {name: getattr(async_grpo_trainer, name, None) for name in _REPLACED}
    if missing := [name for name, function in known.items() if function is None]:
        raise LoraparError(
            "this version of TRL is not supported by `--vllm async`",
            f"its asynchronous trainer has no `{missing[0]}`",
            "install the version that lorapar's `constraints.txt` names",
        )

    def get(*_: Any, **__: Any) -> torch.nn.Module:
        return model

    def add_head(_: torch.nn.Module, **options: Any) -> None:
        known["add_fused_lm_head"](transformers_model(model), **options)

    def find_peak(*arguments: Any) -> float | None:
        # TRL's asks CUDA for the name of the device, whichever it is.
        on_gpu = torch.cuda.is_available()
        return known["get_peak_flops_per_device"](*arguments) if on_gpu else None

    try:
        for name, function in zip(_REPLACED, (get, add_head, find_peak), strict=True):
            setattr(async_grpo_trainer, name, function)
        yield
    finally:
        for name, function in known.items():
            setattr(async_grpo_trainer, name, function)


class _Ledger(TrainerCallback):
    """Starts the rollouts where a run resumes, and writes completions at the end of a step."""

    def __init__(self, rollouts: Rollouts, log: CompletionLog, groups: int) -> None:
        self._rollouts, self._log, self._groups = rollouts, log, groups

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leaves out the prompts of the steps before a resume."""
        self._rollouts.begin_at(state.global_step * self._groups)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Writes the completions that were given rewards in this step."""
        if lines := self._rollouts.take_lines(state.global_step):
            self._log.write(lines)


def fit_async(
    run: TrainingRun,
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    rewards: WeightedRewards,
    options: RlOptions,
    extra: dict[str, Any],
) -> RlFigures:
    """Trains the run's model in place on what a server writes meanwhile; as `grpo.fit_grpo`.

    Completions may be of an adapter some steps older than the one that learns from them, so that
    neither seed nor resume gives the same numbers again.

    Raises:
        LoraparError: There is no such server, or it stopped writing.
    """
    own = common_arguments(options, run.work, run.device)
    # Its batches are of a fixed number of completions, as in `GRPOTrainer`.
    own = {name: value for name, value in own.items() if name != "beta"} | {"token_budget": 0}
    config = build_config(AsyncGRPOConfig, own, extra)
    samples = config.per_device_train_batch_size * config.gradient_accumulation_steps
    groups = samples // config.num_generations
    if options.max_steps < 0:
        config.max_steps = max(1, math.floor(options.epochs * len(records) / groups))
    server = RolloutServer(config.vllm_server_base_url, config.request_timeout)
    server.require(read_lora_config(run.masked.start.folder).r, config.max_staleness + 2)
    dataset = to_dataset(records, tokenizer)
    prompts = [encode_prompt(tokenizer, record.prompt) for record in records]
    rows = [{**row, "tokens": ids} for row, ids in zip(dataset, prompts, strict=True)]
    rollouts = Rollouts(
        server,
        _plan(config, rows, rewards, groups),
        lambda tokens: decode_text(tokenizer, tokens, skip_special_tokens=True),
    )
    log = CompletionLog(
        run.open_log(Artifact.COMPLETIONS),
        {name: weight for name, (_, weight) in rewards.items()},
        config.num_generations,
        run.progress,
    )
    with checked_arguments(extra):
        trainer = MaskedAsyncGRPOTrainer(
            run.masked,
            rollouts,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[_Ledger(rollouts, log, groups)],
        )
    try:
        run.run_trainer(trainer)
    finally:
        forget_mask()
        shutil.rmtree(trainer._lora_dir, ignore_errors=True)
    return rl_figures(trainer, options, run.notes)


def _plan(
    config: AsyncGRPOConfig, rows: Sequence[Row], rewards: WeightedRewards, groups: int
) -> RolloutPlan:
    """Returns what the server is asked for.

    Args:
        groups: Of one step.
    """
    sampling = {name: getattr(config, name) for name in _SAMPLING}
    given = {name: value for name, value in sampling.items() if value is not None}
    return RolloutPlan(
        rows,
        rewards,
        config.num_generations,
        given | {"max_tokens": config.max_completion_length},
        max(config.max_staleness, 1) * groups,
        config.seed,
    )
