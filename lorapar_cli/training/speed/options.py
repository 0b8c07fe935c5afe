"""Options of both training stages on how a step is computed and where."""

from dataclasses import dataclass

from lorapar_cli.errors import UsageError
from lorapar_cli.model_options import device_map_option
from lorapar_cli.names import DeviceMap
from lorapar_cli.options import Options, option

_SPEED = {"panel": "Speed"}
PACKED = ("flash_attention_2",)
"""Implementations of attention that compute each record of a packed row by itself."""


@dataclass(frozen=True, kw_only=True)
class SpeedOptions(Options):
    """Options on how a step is computed and where; no number depends on them beyond rounding."""

    compile: bool = option(
        False,
        "Compile the model (torch.compile): the first steps take minutes, the others less time.",
        trainer="torch_compile",
        **_SPEED,
    )
    liger: bool = option(
        False,
        "Use Liger's kernels for norms, rotary positions and MLPs; needs a GPU and "
        "`lorapar[liger]`.",
        trainer="use_liger_kernel",
        **_SPEED,
    )
    device_map: DeviceMap | None = device_map_option()


@dataclass(frozen=True, kw_only=True)
class SftSpeedOptions(SpeedOptions):
    """The same of `train-sft`."""

    packing: bool = option(
        False,
        "Concatenate the records of a batch into one row, without padding; needs "
        "`--attention flash_attention_2`.",
        **_SPEED,
    )


def require_packed_attention(packing: bool, attention: str | None) -> None:
    """Refuses packing where attention would mix the records of a row, or compute all pairs of them.

    Raises:
        UsageError: The attention is another one.
    """
    if packing and attention not in PACKED:
        chosen = f"`--attention {attention}`" if attention else "the model's own attention"
        raise UsageError(
            "`--packing` needs an attention that computes each record of a row by itself",
            f"{chosen} relates every token of a row to all tokens before it, and would leave it to "
            "a mask to keep records apart",
            "add `--attention flash_attention_2`, which needs a GPU, half precision and flash-attn; "
            "or omit `--packing`: padded batches train the same",
        )
