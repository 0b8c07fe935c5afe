"""Masked trainers: TRL's own, with an optimizer that owns the active elements and nothing else."""

import math
import re
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from transformers import Trainer

from lorapar_cli.errors import Diverged, LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.masking.active_elements import ActiveElements
from lorapar_cli.training.masking.engines import require_engine
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.optimizers import make_optimizer
from lorapar_cli.training.masking.sharded_masking import ShardedElements
from lorapar_cli.training.masking.trained_elements import TrainedElements
from lorapar_cli.training.watching.diverged import diverged_hint

# Private methods of the library's trainer; if one were renamed, ours would not be called.
_OVERRIDDEN = ("_clip_grad_norm", "_get_grad_norm", "_prepare_for_training", "_run_epoch")


class MaskedTrainer(Trainer):
    """To be listed before a TRL trainer as a base class: only active elements are trained.

    The gradient norm is that of the active elements, for clipping and in the logs.

    Differs: the published script zeroes gradients in hooks and leaves the optimizer, its weight
    decay and the clipping on full tensors, so that frozen elements move.

    Attributes:
        masked: The model and what its adapter started from; set before the library's constructor.
        engine: What holds the parameters.
        elements: What the optimizer owns; set when training begins.
    """

    masked: MaskedModel
    engine: Engine
    elements: TrainedElements

    def create_accelerator_and_postprocess(self) -> None:
        """Creates the accelerator and checks that it runs the engine that was requested."""
        super().create_accelerator_and_postprocess()
        self.engine = require_engine(self.accelerator)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Writes none: checkpoints are not published, and TRL's asks every tracker for its URL."""

    def keep_float32(self) -> None:
        """Undoes what the trainer's constructor did to the adapter of a quantised base.

        It casts to bfloat16, in which steps at the learning rates of GRPO round to nothing.
        """
        for name, parameter in self.masked.model.named_parameters():
            if ".lora_" in name and parameter.dtype is not torch.float32:
                stored = re.sub(r"\.(default|ref)\.", ".", name)
                parameter.data = self.masked.start.weights[stored].to(parameter.device, copy=True)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Creates the optimizer that the arguments name, over the active elements."""
        if self.optimizer is not None:
            return self.optimizer
        if missing := [name for name in _OVERRIDDEN if not hasattr(Trainer, name)]:
            raise LoraparError(
                "this version of transformers is not supported",
                f"its trainer has no `{'`, `'.join(missing)}`",
                "install the version that lorapar's `constraints.txt` names",
            )
        self.elements = self._elements(adapter_parameters(self.masked.model))
        self.optimizer = make_optimizer(self.args, self.elements.values)
        self.optimizer.register_step_post_hook(lambda *_: self.elements.scatter())
        return self.optimizer

    def _elements(self, parameters: dict[str, torch.nn.Parameter]) -> TrainedElements:
        start = self.masked.start
        if self.engine.sharded:
            return ShardedElements(self.engine, parameters, start.active, start.weights)
        return ActiveElements(parameters, start.active)

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: str | None
    ) -> tuple[torch.nn.Module, DataLoader]:
        # Warm-up leaves at least the last step a rate above zero. Some optimizers do their own
        # warm-up and would take a share of the steps for a number of steps.
        self.args.warmup_steps = min(self.args.get_warmup_steps(max_steps), max_steps - 1)
        prepared = super()._prepare_for_training(
            max_steps, train_dataloader, resume_from_checkpoint
        )
        if isinstance(self.elements, ShardedElements):
            parameters = adapter_parameters(self.masked.model)
            self.elements.find_shards(parameters, fresh=resume_from_checkpoint is None)
        return prepared

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # The library checks whether to stop only after a step: a run resumed from its last
        # checkpoint would take one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        if self.control.should_training_stop:
            return
        super()._run_epoch(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward; gathers gradients once all batches of a step are in."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.elements.gather()
        return loss

    def take_evaluation_point(self) -> None:
        """Moves the adapter to the point at which a schedule-free optimizer is to be evaluated."""
        wrapped = self.optimizer
        if isinstance(wrapped, AcceleratedOptimizer) and hasattr(wrapped.optimizer, "eval"):
            wrapped.eval()
            self.elements.scatter()

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor | float:
        return self._norm_of_active(self.args.max_grad_norm)

    def _get_grad_norm(
        self, model: torch.nn.Module, grad_norm: torch.Tensor | float | None = None
    ) -> float:
        return float(self._norm_of_active(math.inf) if grad_norm is None else grad_norm)

    def _norm_of_active(self, max_norm: float) -> torch.Tensor | float:
        # FSDP2 clips what it has divided only when it is given all parameters.
        sharded = self.engine.sharded
        owned = self.masked.model.parameters() if sharded else self.elements.values
        norm = self.accelerator.clip_grad_norm_(owned, max_norm)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        # A float16 scaler leaves out such a step and lowers its scale.
        if not math.isfinite(norm) and not self.args.fp16:
            raise Diverged(
                f"gradients are not finite in step {self.state.global_step + 1}",
                f"norm {float(norm)}",
                diverged_hint(str(self.args.output_dir)),
            )
        return norm
