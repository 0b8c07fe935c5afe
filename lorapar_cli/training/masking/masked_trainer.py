"""Masked trainers: TRL's own, with an optimizer that owns the active elements and nothing else."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch.distributed.tensor import DTensor
from transformers import Trainer
from transformers.training_args import OptimizerNames

from lorapar_cli.elements.rank_doubling import widen_mask
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import (
    BaseModel,
    adapter_parameters,
    load_adapter,
    load_base,
    read_adapter_config,
    save_adapter,
    save_raw_adapter,
)
from lorapar_cli.names import Flag
from lorapar_cli.store.mask_file import active_elements, read_mask, require_same_layout
from lorapar_cli.store.tensor_files import read_shapes, read_tensors
from lorapar_cli.training.masking.active_elements import ActiveElements, count_moved
from lorapar_cli.training.masking.dense_masking import WholeMatrices
from lorapar_cli.training.masking.engines import Engine, require_engine
from lorapar_cli.training.masking.optimizers import Owns, make_optimizer, owned_by
from lorapar_cli.training.masking.sharded_masking import ShardedElements, whole_values

WEIGHTS = "adapter_model.safetensors"
# Methods of the trainer that are not public; were one renamed, ours would not be called.
_OVERRIDDEN = ("_clip_grad_norm", "_get_grad_norm", "_prepare_for_training", "_run_epoch")


@dataclasses.dataclass(frozen=True)
class MaskedAdapter:
    """An adapter on disk and the elements of it that a stage trains.

    Attributes:
        folder: The PEFT folder.
        weights: Name -> tensor as stored, float32.
        active: Name -> bool tensor of the same shape, True = active in the stage.
        shapes: Name -> shape in the mask. Where the init would have changed the base model these
            are those of the raw rank-r part, else of the weights (`elements.rank_doubling`).
        raw_rank: Rank of that part; None where all of the adapter may train.
    """

    folder: Path
    weights: dict[str, torch.Tensor]
    active: dict[str, torch.Tensor]
    shapes: dict[str, tuple[int, ...]]
    raw_rank: int | None

    @property
    def active_count(self) -> int:
        """Number of active elements."""
        return sum(int(tensor.sum()) for tensor in self.active.values())

    @property
    def element_count(self) -> int:
        """Number of elements that the mask covers."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclasses.dataclass(frozen=True)
class MaskedModel:
    """A model whose adapter is about to train, with what it started from."""

    model: PeftModel
    start: MaskedAdapter


def read_masked_adapter(folder: Path, mask_path: Path | None, flag: Flag) -> MaskedAdapter:
    """Returns an adapter and its active elements, checked to belong together.

    Needs no model, so that a wrong pair fails before one is loaded. Without a mask every element
    is active.

    Raises:
        LoraparError: Mask and adapter do not belong together, or nothing is active.
    """
    raw_rank = read_adapter_config(raw).r if (raw := _raw_folder(folder)) else None
    shapes = read_shapes((raw or folder) / WEIGHTS)
    if mask_path is None:
        active = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    else:
        flags, _ = read_mask(mask_path)
        require_same_layout(mask_path, flags, raw or folder, shapes)
        active = active_elements(flags, flag)
    if not any(tensor.any() for tensor in active.values()):
        raise LoraparError(
            f"no element is active in {'train-sft' if flag is Flag.SFT else 'train-rl'}",
            f"`{mask_path}` sets its flag nowhere",
            "run `lorapar partition` with a larger `--theta`, `--alpha` or `--beta`",
        )
    arrays, _ = read_tensors(folder / WEIGHTS)
    if raw_rank is not None:
        active = {name: widen_mask(name, m, arrays[name].shape) for name, m in active.items()}
    return MaskedAdapter(
        folder,
        {name: torch.from_numpy(array) for name, array in arrays.items()},
        {name: torch.from_numpy(mask) for name, mask in active.items()},
        shapes,
        raw_rank,
    )


def _raw_folder(folder: Path) -> Path | None:
    beside = folder.with_name(f"{folder.name}-raw")
    return beside if beside.is_dir() else None


def load_masked_model(
    base: BaseModel,
    start: MaskedAdapter,
    *,
    dtype: str,
    quantize: str | None,
    dropout: float,
    trust: bool,
    engine: Engine,
) -> MaskedModel:
    """Returns base and adapter, ready for a masked trainer.

    They are on this process's device, or in its memory where an engine is to divide them first.
    """
    loaded = load_base(base, dtype, trust, quantize, keep_on_cpu=engine.divides_parameters)
    model = load_adapter(loaded, start.folder, trainable=True, dropout=dropout)
    for name, parameter in adapter_parameters(model).items():
        if not torch.equal(parameter.detach().cpu(), start.weights[name]):
            raise AssertionError(f"{name} was not loaded as stored")
    return MaskedModel(model, start)


def trained_values(masked: MaskedModel) -> dict[str, torch.Tensor]:
    """Returns name -> trained matrix, whole, float32 on the CPU; every process must call this."""
    return whole_values(adapter_parameters(masked.model))


def save_masked(masked: MaskedModel, values: dict[str, torch.Tensor], folder: Path) -> None:
    """Writes the trained adapter, and beside it its raw part where the next stage needs it.

    Args:
        values: Of `trained_values`.
    """
    save_adapter(masked.model, folder / "adapter", values)
    if masked.start.raw_rank is not None:
        save_raw_adapter(masked.model, masked.start.raw_rank, folder / "adapter-raw", values)


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
        rank = self.masked.model.peft_config["default"].r
        self.optimizer = make_optimizer(self.args, self.model, self.elements.values, rank)
        self.elements.attach(self.optimizer)
        return self.optimizer

    def _elements(self, parameters: dict[str, torch.nn.Parameter]):
        start = self.masked.start
        if self.engine.sharded:
            return ShardedElements(self.engine, parameters, start.active, start.weights)
        if self.owns is Owns.VECTORS:
            return ActiveElements(parameters, start.active)
        return WholeMatrices(
            parameters, start.active, start.weights, in_backward=self.owns is Owns.BACKWARD
        )

    @property
    def owns(self) -> Owns:
        """What the optimizer is given where no engine divides it."""
        return owned_by(OptimizerNames(self.args.optim).value)

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
        if self.owns is Owns.BACKWARD:
            return None  # No gradient outlives the backward pass.
        return self._norm_of_active(self.args.max_grad_norm)

    def _get_grad_norm(self, model, grad_norm=None):
        if self.owns is Owns.BACKWARD:
            return None
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


def verify_trained(start: MaskedAdapter, after: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Returns how many active elements moved and how many frozen ones did, which is 0.

    Args:
        after: Of `trained_values`.

    Raises:
        LoraparError: Nothing moved.
        AssertionError: A frozen element moved: a defect of lorapar, never of the input.
    """
    if bad := [name for name, tensor in after.items() if not torch.isfinite(tensor).all()]:
        raise LoraparError(
            f"training made `{bad[0]}` infinite or not a number", hint="lower `--learning-rate`"
        )
    active, frozen = count_moved(start.weights, after, start.active)
    if frozen:
        raise AssertionError(f"{frozen} frozen elements moved during training")
    if not active:
        raise LoraparError(
            "training changed no element of the adapter",
            "every active element is bit-identical to its start",
            "raise `--learning-rate` or the number of steps; in train-rl, rewards that do not "
            "differ between the completions of a prompt teach nothing either",
        )
    return active, frozen
