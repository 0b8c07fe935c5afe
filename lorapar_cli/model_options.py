"""Options on the base model that several stages have, each stated here once."""

from typing import Any

from lorapar_cli.options import option


def model_option() -> Any:
    """Returns the field of `--model`."""
    return option(
        None,
        "Base model (the student): a folder, a hub id, or `embedded`. Default: the one that the "
        "run directory remembers.",
        recorded=False,
    )


def trust_option() -> Any:
    """Returns the field of `--trust-remote-code`."""
    return option(
        False, "Execute code that comes with the model repository. Off by default.", recorded=False
    )


def template_option() -> Any:
    """Returns the field of `--template`."""
    return option(
        None,
        "File with a Jinja chat template. Default: the one that the run used, else the model's.",
        recorded=False,
    )


def template_arg_option(more: str, **stated: Any) -> Any:
    """Returns the field of `--template-arg`.

    Args:
        more: A sentence on what holds where none is given, or on what it is for.
        stated: Further arguments of `option`.
    """
    return option(
        (),
        "Variable of the chat template and its value, such as `enable_thinking=false`; repeatable. "
        + more,
        repeatable=True,
        metavar="KEY=VALUE",
        recorded=False,
        **stated,
    )


def dtype_option() -> Any:
    """Returns the field of `--dtype` of stages that train or score."""
    return option(
        "auto",
        "Data type of the base model; `auto` is bfloat16 on a GPU and float32 elsewhere. The "
        "adapter is always float32.",
    )


def attention_option(**details: Any) -> Any:
    """Returns the field of `--attention`; `details` are those of `Statement`."""
    return option(
        None,
        "Implementation of attention: `eager`, `sdpa` (PyTorch's), or `flash_attention_2`, which "
        "needs a GPU, half precision and flash-attn. Default: the model's own, mostly `sdpa`.",
        **details,
    )


def shard_option() -> Any:
    """Returns the field of `--shard`."""
    return option(
        False,
        "Divide the base model over the processes of the launch (FSDP2) instead of a copy in each; "
        "also on where the launcher requests FSDP2 or ZeRO-3.",
        panel="Where",
        recorded=False,
    )


def device_map_option() -> Any:
    """Returns the field of `--device-map`."""
    return option(
        None,
        "Distribute the layers of the base model over all GPUs of this machine (auto), in one "
        "process. Default: all on one GPU.",
        panel="Where",
        recorded=False,
    )


def quantize_option() -> Any:
    """Returns the field of `--quantize`."""
    return option(None, "Load the base weights in 4 or 8 bits; needs `lorapar[quantize]`.")
