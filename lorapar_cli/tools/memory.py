"""`doctor --model`: the memory that each stage needs, from a model's configuration alone."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from lorapar_cli.errors import UsageError
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.limits import LARGEST_BATCH, LARGEST_RANK, MOST_TOKENS
from lorapar_cli.model_options import quantize_option, trust_option
from lorapar_cli.names import TARGET_MODULES, Dtype, Quantize, Stage
from lorapar_cli.options import Options, option
from lorapar_cli.training.options import RlOptions, SftOptions

if TYPE_CHECKING:
    from lorapar_cli.models.memory.footprint import Footprint, Planner

# A batch of `score` has at least so many tokens on a GPU.
_SCORE_TOKENS = 4096


@dataclass(frozen=True)
class MemoryOptions(Options):
    """What `doctor --model` assumes; other settings are the stages' defaults.

    Raises:
        UsageError: An option out of range, or one that needs `--model`.
    """

    model: str | None = option(
        None,
        "Instead of this machine, examine a base model: the memory that each stage needs, from its "
        "config.json alone. A folder, a hub id, or `embedded`.",
    )
    r: int = option(8, "LoRA rank r.", at_least=1, at_most=LARGEST_RANK, flag="--r", alias="--rank")
    target_modules: tuple[str, ...] = option(
        TARGET_MODULES, "Names of the modules that get LoRA matrices, comma-separated."
    )
    dtype: Dtype = option("auto", "Data type of the base model; `auto` is bfloat16, as on a GPU.")
    quantize: Quantize | None = quantize_option()
    gpus: int = option(
        1,
        "Processes among which FSDP2 divides the base model; 1 for a whole copy.",
        at_least=1,
        at_most=LARGEST_BATCH,
    )
    gpu_memory: float | None = option(
        None, "GiB of one GPU to compare with. Default: those of the GPUs that are here.", above=0
    )
    max_length: int = option(
        512,
        "Longest record, and longest prompt of `train-rl` and `eval`, in tokens.",
        at_least=2,
        at_most=MOST_TOKENS,
    )
    max_new_tokens: int = option(
        256, "Longest completion in tokens.", at_least=1, at_most=MOST_TOKENS
    )
    per_device_batch_size: int | None = option(
        None,
        "Sequences per batch in training. Default: each stage's own.",
        at_least=1,
        at_most=LARGEST_BATCH,
    )
    batch_size: int = option(64, "Prompts per batch of `eval`.", at_least=1, at_most=LARGEST_BATCH)
    gradient_checkpointing: bool = option(
        False, "Recompute activations in the backward pass of training."
    )
    trust_remote_code: bool = trust_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        changed = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        if self.model is None and changed:
            raise UsageError(
                "these options are for `doctor --model`",
                hint="name a base model with `--model`, or omit them",
            )
        if self.gpus > 1 and self.quantize is not None:
            raise UsageError(
                "a quantised base model cannot be sharded",
                f"`--quantize {self.quantize}` with `--gpus {self.gpus}`",
                "omit one of them",
            )


@dataclass(frozen=True)
class StageMemory:
    """The memory of one stage on one device, in bytes.

    Attributes:
        parts: By what holds it.
        total: At once; of phases that follow one another the largest counts.
        fits: Whether it is less than the GPU has; None where there is none to compare with.
    """

    stage: str
    parts: dict[str, int]
    total: int
    fits: bool | None


@dataclass(frozen=True)
class ModelMemory:
    """What `doctor --model` finds out.

    Attributes:
        parameters: Of the base model.
        elements: Of the adapter.
        dtype: Of the base weights.
        gpu: Bytes of the GPU compared with, None where there is none.
    """

    model: str
    parameters: int
    elements: int
    dtype: str
    gpus: int
    gpu: int | None
    stages: list[StageMemory]


def examine(options: MemoryOptions) -> ModelMemory:
    """Returns the memory that each stage needs on one device; loads no weights.

    Raises:
        LoraparError: There is no such model, or no module has one of the target names.
    """
    require_libraries(MODELS, "`lorapar doctor --model`")
    import torch

    from lorapar_cli.models.base_model import find_base_model, pick_dtype
    from lorapar_cli.models.memory.footprint import plan
    from lorapar_cli.models.memory.outline import Drawn

    base = find_base_model(str(options.model), options.trust_remote_code)
    # As on a GPU, wherever the question is asked.
    dtype = (
        torch.bfloat16
        if options.dtype == "auto"
        else pick_dtype(options.dtype, torch.device("cpu"))
    )
    drawn = Drawn(
        base, dtype, options.r, options.target_modules, trust_remote_code=options.trust_remote_code
    )
    planner = plan(drawn, options.quantize, options.gpus)
    found = {
        Stage.SCORE: planner.score(max(1, _SCORE_TOKENS // options.max_length), options.max_length)
    }
    # Other stages refuse encoder-decoders.
    if not base.encoder_decoder:
        found |= _trained_and_evaluated(planner, options)
    gpu = _gpu_bytes(options.gpu_memory)
    return ModelMemory(
        base.id,
        planner.sizes.weights,
        planner.sizes.elements,
        str(dtype).removeprefix("torch."),
        options.gpus,
        gpu,
        [
            StageMemory(
                stage.value,
                {**each.parts, **each.alternating},
                each.total,
                None if gpu is None else each.total < gpu,
            )
            for stage, each in found.items()
        ],
    )


def _trained_and_evaluated(planner: "Planner", options: MemoryOptions) -> "dict[Stage, Footprint]":
    elements, checkpointing = planner.sizes.elements, options.gradient_checkpointing
    sft, rl, each = SftOptions(), RlOptions(), options.per_device_batch_size
    batch = each or rl.per_device_batch_size
    return {
        Stage.TRAIN_SFT: planner.train(
            each or sft.per_device_batch_size,
            options.max_length,
            active=elements,
            checkpointing=checkpointing,
            autocast=True,
            dropout=sft.lora_dropout,
        ),
        Stage.TRAIN_RL: planner.train(
            batch,
            options.max_length + options.max_new_tokens,
            active=elements,
            checkpointing=checkpointing,
            autocast=True,
            sequences=batch * rl.gradient_accumulation,
            completion=options.max_new_tokens,
        ),
        Stage.EVAL: planner.evaluate(
            options.batch_size, options.max_length, options.max_new_tokens
        ),
    }


def _gpu_bytes(given: float | None) -> int | None:
    """Returns the memory of the smallest GPU, or what the user gave; None without either."""
    import torch

    if given is not None:
        return int(given * 2**30)
    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.mem_get_info(i)[1] for i in range(torch.cuda.device_count()))
