"""Masked trainers: TRL's own, with an optimizer that owns the active elements and nothing else."""

import math
import re

import torch
from torch.distributed.tensor import DTensor
from transformers import Trainer

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import (
    adapter_parameters,
)
from lorapar_cli.training.masking.active_elements import ActiveElements
from lorapar_cli.training.masking.engines import Engine, require_engine
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.optimizers import make_optimizer
from lorapar_cli.training.masking.sharded_masking import ShardedElements

# Methods of the trainer that are not public; were one renamed, ours would not be called.
_OVERRIDDEN = ("_clip_grad_norm", "_get_grad_norm", "_prepare_for_training", "_run_epoch")


class MaskedTrainer:
    """Mixed into a TRL trainer: the optimizer owns the active elements only.

    The gradient norm is that of the active elements, for clipping and in the logs.

    Differs: the published script zeroes gradients in hooks and leaves the optimizer, its weight
    decay and the clipping on full tensors, so that frozen elements move.
    """

    masked: MaskedModel
    engine: Engine

    def create_accelerator_and_postprocess(self) -> None:
        """Makes the accelerator and sees that it runs the engine that was asked for."""
        super().create_accelerator_and_postprocess()
        self.engine = require_engine(self.accelerator)

    def create_model_card(self, *_, **__) -> None:
        """Writes none: checkpoints are not published, and TRL asks every tracker for its address."""

    def keep_float32(self) -> None:
        """Undoes what the trainer's constructor did to the adapter of a quantised base.

        It casts to bfloat16, in which steps at the rates of GRPO round to nothing.
        """
        for name, parameter in self.masked.model.named_parameters():
            if ".lora_" in name and parameter.dtype is not torch.float32:
                stored = re.sub(r"\.(default|ref)\.", ".", name)
                parameter.data = self.masked.start.weights[stored].to(parameter.device, copy=True)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Creates the optimizer that the arguments name, over the active elements."""
        if self.optimizer is not None:
            return self.optimizer
        if not all(hasattr(Trainer, name) for name in _OVERRIDDEN):
            raise LoraparError(
                "this version of transformers trains in a way that is not known here",
                hint="install the version that `constraints.txt` of lorapar names",
            )
        parameters = adapter_parameters(self.model)
        self.elements = self._elements(parameters)
        self.optimizer = make_optimizer(self.args, self.elements.values)
        self.elements.attach(self.optimizer)
        return self.optimizer

    def _elements(self, parameters: dict[str, torch.nn.Parameter]):
        start = self.masked.start
        if self.engine.sharded:
            return ShardedElements(self.engine, parameters, start.active, start.weights)
        return ActiveElements(parameters, start.active)

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        # Warm-up leaves at least the last step a rate above zero. Some optimizers warm up by
        # themselves and would take a share for a number of steps.
        self.args.warmup_steps = min(self.args.get_warmup_steps(max_steps), max_steps - 1)
        prepared = super()._prepare_for_training(
            max_steps, train_dataloader, resume_from_checkpoint
        )
        if self.engine.sharded:
            parameters = adapter_parameters(self.masked.model)
            self.elements.find_shards(parameters, fresh=resume_from_checkpoint is None)
        return prepared

    def _run_epoch(self, *args, **kwargs):
        # The library looks whether to stop after a step only: a run that goes on from its last
        # checkpoint would take one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        if self.control.should_training_stop:
            return
        super()._run_epoch(*args, **kwargs)

    def training_step(self, *args, **kwargs):
        """Runs forward and backward; gathers gradients once they are those of a whole batch."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.elements.gather()
        return loss

    def take_evaluation_point(self) -> None:
        """Moves the adapter to where a schedule-free optimizer says that it is best."""
        if hasattr(self.optimizer.optimizer, "eval"):
            self.optimizer.eval()
            self.elements.scatter()

    def _clip_grad_norm(self, model):
        return self._norm_of_active(self.args.max_grad_norm)

    def _get_grad_norm(self, model, grad_norm=None):
        if grad_norm is None:
            grad_norm = self._norm_of_active(math.inf)
        return float(grad_norm)

    def _norm_of_active(self, max_norm: float):
        # FSDP2 clips what it has divided only when it is given all parameters.
        whole = self.engine.sharded
        owned = self.model.parameters() if whole else self.elements.values
        norm = self.accelerator.clip_grad_norm_(owned, max_norm)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if not math.isfinite(norm) and not self.args.fp16:
            raise LoraparError(
                f"gradients are not finite in step {self.state.global_step + 1}",
                f"norm {float(norm)}",
                "lower `--learning-rate`; the last checkpoint is kept, "
                "the same command goes on from it",
            )
        return norm
