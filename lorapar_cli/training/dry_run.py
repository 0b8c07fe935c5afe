"""What a dry run finds out: the first step, without taking it."""

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lorapar_cli.stage_records.training import DryRunFigures


class FirstStep(BaseException):
    """Ends a dry run where the first step would begin; no handler of errors may catch it.

    Attributes:
        figures: What the run would have been.
    """

    def __init__(self, figures: DryRunFigures) -> None:
        super().__init__()
        self.figures = figures


class DryRun(TrainerCallback):
    """Ends the run before its first step, with what it would have been."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Collects steps, learning rates and bytes, then ends the run."""
        raise FirstStep(
            {
                "steps": state.max_steps,
                "learning_rates": _rates(kwargs["lr_scheduler"], state.max_steps),
                "bytes": memory_bytes(kwargs["model"], kwargs["optimizer"]),
            }
        )


def _rates(scheduler: Any, steps: int) -> dict[int, float]:
    """Returns step -> learning rate at up to six steps of the schedule."""
    base, shape = scheduler.base_lrs[0], scheduler.lr_lambdas[0]
    points = sorted({round((steps - 1) * share) for share in (0, 0.05, 0.25, 0.5, 0.75, 1)})
    return {step: base * shape(step) for step in points}


def memory_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Returns bytes by what holds them; activations, which depend on the batch, are not known.

    Optimizer state is estimated as AdamW's, two float32 numbers per element.
    """
    lora = [p for n, p in model.named_parameters() if ".lora_" in n]
    trained = [p for p in lora if p.requires_grad]
    adapter = sum(map(_size, lora))
    if any(hasattr(p, "ds_numel") for p in trained):
        # ZeRO-3 hides the matrices behind parts of its own, for all of whose elements it has state.
        owned = sum(map(_element_count, trained))
    else:
        groups = optimizer.param_groups
        owned = sum(p.numel() for group in groups for p in group["params"] if p.requires_grad)
    return {
        "base model": sum(map(_size, model.parameters())) - adapter,
        "adapter": adapter,
        "gradients": sum(map(_size, trained)),
        "active elements and their gradients": 8 * owned,
        "optimizer state (AdamW)": 8 * owned,
    }


def _size(parameter: torch.nn.Parameter) -> int:
    """Returns a parameter's bytes; of one that ZeRO-3 has divided, those of the whole."""
    return _element_count(parameter) * parameter.element_size()


def _element_count(parameter: torch.nn.Parameter) -> int:
    return getattr(parameter, "ds_numel", parameter.numel())
