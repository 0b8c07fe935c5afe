"""What a dry run finds out: the first step, without taking it."""

import torch
from transformers import TrainerCallback


class FirstStep(BaseException):
    """Ends a dry run where the first step would begin; no handler of errors may catch it."""


class DryRun(TrainerCallback):
    """Ends the run before its first step and keeps what it would have been."""

    def __init__(self) -> None:
        self.figures: dict[str, object] = {}

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Collects steps, learning rates and bytes, then ends the run."""
        self.figures = {
            "steps": state.max_steps,
            "learning_rates": _rates(kwargs["lr_scheduler"], state.max_steps),
            "bytes": memory_bytes(model, optimizer),
        }
        raise FirstStep


def _rates(scheduler, steps: int) -> dict[int, float]:
    """Returns step -> learning rate at five steps of the schedule."""
    base, shape = scheduler.base_lrs[0], scheduler.lr_lambdas[0]
    points = sorted({round((steps - 1) * share) for share in (0, 0.05, 0.25, 0.5, 0.75, 1)})
    return {step: base * shape(step) for step in points}


def memory_bytes(model: torch.nn.Module, optimizer) -> dict[str, int]:
    """Returns bytes by what holds them; activations, which depend on the batch, are not known.

    Optimizer state is estimated as AdamW's, two float32 numbers an element.
    """
    lora = [p for n, p in model.named_parameters() if ".lora_" in n]
    trained = [p for p in lora if p.requires_grad]
    adapter = sum(map(_size, lora))
    if any(hasattr(p, "ds_numel") for p in trained):
        # ZeRO-3 hides the matrices behind parts of its own, for all of whose elements it has state.
        owned = sum(p.ds_numel for p in trained)
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
    return getattr(parameter, "ds_numel", parameter.numel()) * parameter.element_size()
