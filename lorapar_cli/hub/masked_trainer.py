"""Masked trainers: TRL's own, with an optimizer that owns the active elements and nothing else."""

import dataclasses
import math
from pathlib import Path

import torch
from transformers import Trainer

from lorapar_cli.core.masking import ActiveElements, count_moved
from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.models import BaseModel, adapter_parameters, load_adapter, load_base
from lorapar_cli.names import Flag
from lorapar_cli.store.masks import active_elements, read_mask, require_same_layout
from lorapar_cli.store.tensors import read_tensors


@dataclasses.dataclass
class MaskedModel:
    """A model whose adapter is about to train, with what is needed to check it afterwards.

    Attributes:
        model: The PeftModel, adapter trainable.
        start: Name -> the adapter's tensors as stored, float32, on the CPU.
        active: Name -> bool tensor, True = active in this stage, on the CPU.
    """

    model: torch.nn.Module
    start: dict[str, torch.Tensor]
    active: dict[str, torch.Tensor]

    @property
    def active_count(self) -> int:
        """Number of active elements."""
        return sum(int(tensor.sum()) for tensor in self.active.values())

    @property
    def element_count(self) -> int:
        """Number of elements of the adapter."""
        return sum(tensor.numel() for tensor in self.start.values())


def read_active(mask_path: Path | None, adapter: Path, flag: Flag) -> tuple[dict, dict]:
    """Returns the adapter's tensors and its active elements, checked to belong together.

    Needs no model, so that a wrong pair fails before one is loaded. Without a mask every element
    is active.

    Raises:
        LoraparError: Mask and adapter do not belong together, or nothing is active.
    """
    arrays, _ = read_tensors(adapter / "adapter_model.safetensors")
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if mask_path is None:
        return weights, {n: torch.ones(t.shape, dtype=torch.bool) for n, t in weights.items()}
    flags, _ = read_mask(mask_path)
    require_same_layout(mask_path, flags, adapter, {n: t.shape for n, t in weights.items()})
    active = active_elements(flags, flag)
    if not any(tensor.any() for tensor in active.values()):
        raise LoraparError(
            f"no element is active in {'train-sft' if flag is Flag.SFT else 'train-rl'}",
            f"`{mask_path}` sets its flag nowhere",
            "run `lorapar partition` with a larger `--theta`, `--alpha` or `--beta`",
        )
    return weights, {name: torch.from_numpy(tensor) for name, tensor in active.items()}


def load_masked_model(
    base: BaseModel,
    adapter: Path,
    start: dict,
    active: dict,
    *,
    dtype: str,
    dropout: float,
    trust: bool,
) -> MaskedModel:
    """Returns base and adapter on this machine's device, ready for a masked trainer."""
    model = load_adapter(load_base(base, dtype, trust), adapter, trainable=True, dropout=dropout)
    loaded = adapter_parameters(model)
    for name, tensor in start.items():
        if not torch.equal(loaded[name].detach().cpu(), tensor):
            raise AssertionError(f"{name} was not loaded as stored")
    return MaskedModel(model, start, active)


class MaskedTrainer:
    """Mixed into a TRL trainer: the optimizer owns the active elements only.

    The gradient norm is that of the active elements, for clipping and in the logs.

    Differs: the published script zeroes gradients in hooks and leaves the optimizer, its weight
    decay and the clipping on full tensors, so that frozen elements move.
    """

    masked: MaskedModel

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Creates the optimizer that the arguments name, over the active elements."""
        if self.optimizer is not None:
            return self.optimizer
        if not hasattr(Trainer, "_clip_grad_norm") or not hasattr(Trainer, "_get_grad_norm"):
            raise LoraparError(
                "this version of transformers clips gradients in a way that is not known here",
                hint="install the version that `constraints.txt` of lorapar names",
            )
        parameters = adapter_parameters(self.model)
        self.active_elements = ActiveElements(parameters, self.masked.active)
        optimizer_class, arguments = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        if not isinstance(optimizer_class, type) or arguments.keys() & {
            "params",
            "model",
            "optimizer_dict",
        }:
            raise LoraparError(
                f"optimizer `{self.args.optim}` takes whole models or matrices",
                hint="use one that takes vectors, such as `adamw_torch`, `sgd` or `adafactor`",
            )
        group = {"params": self.active_elements.values, "weight_decay": self.args.weight_decay}
        self.optimizer = optimizer_class([group], **arguments)
        self.active_elements.attach(self.optimizer)
        return self.optimizer

    def training_step(self, *args, **kwargs):
        """Runs forward and backward; gathers gradients once they are those of a whole batch."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.active_elements.gather()
        return loss

    def _clip_grad_norm(self, model):
        return self._norm_of_active(self.args.max_grad_norm)

    def _get_grad_norm(self, model, grad_norm=None):
        if grad_norm is None:
            grad_norm = self._norm_of_active(math.inf)
        return float(grad_norm)

    def _norm_of_active(self, max_norm: float):
        norm = self.accelerator.clip_grad_norm_(self.active_elements.values, max_norm)
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            raise LoraparError(
                f"gradients are not finite in step {self.state.global_step + 1}",
                f"norm {float(norm)}",
                "lower `--learning-rate`; the last checkpoint is kept, "
                "the same command goes on from it",
            )
        return norm


def verify_trained(masked: MaskedModel) -> tuple[int, int]:
    """Returns how many active elements moved and how many frozen ones did, which is 0.

    Raises:
        LoraparError: Nothing moved.
        AssertionError: A frozen element moved: a defect of lorapar, never of the input.
    """
    after = {n: p.detach().cpu() for n, p in adapter_parameters(masked.model).items()}
    if bad := [name for name, tensor in after.items() if not torch.isfinite(tensor).all()]:
        raise LoraparError(
            f"training made `{bad[0]}` infinite or not a number", hint="lower `--learning-rate`"
        )
    active, frozen = count_moved(masked.start, after, masked.active)
    if frozen:
        raise AssertionError(f"{frozen} frozen elements moved during training")
    if not active:
        raise LoraparError(
            "training changed no element of the adapter",
            "every active element is bit-identical to its start",
            "raise `--learning-rate` or the number of steps",
        )
    return active, frozen
