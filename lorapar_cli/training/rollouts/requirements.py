"""What `--vllm async` needs and what it cannot do, said before anything is loaded."""

import importlib.util

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.plurals import counted
from lorapar_cli.training.options import RlOptions

ASYNC = "async"
MODULE = "trl.experimental.async_grpo"


def require_async(options: RlOptions, engine: Engine, processes: int) -> None:
    """Checks options and launch against what asynchronous GRPO can do; others pass.

    Args:
        engine: What the launcher requested.
        processes: Number that it started.

    Raises:
        LoraparError: The installed TRL has none, or the launch has several processes.
        UsageError: An option that it does not have.
    """
    if options.vllm != ASYNC:
        return
    refused = {
        "--kl-beta": (options.kl_beta, "it has no reference model"),
        "--refill": (options.refill, "completions are written before it is known what is needed"),
        "--find-lr": (options.find_lr, "each short training would need a server of its own"),
        "--liger": (options.liger, "TRL's asynchronous trainer does not take it"),
        "--compile": (options.compile, "every row that it packs has another shape"),
        "--attention": (options.attention, "packed rows have an attention of their own"),
    }
    for flag, (given, reason) in refused.items():
        if given:
            raise UsageError(
                f"`--vllm async` does not go with `{flag}`", reason, "omit one of them"
            )
    if engine.sharded or processes > 1:
        raise LoraparError(
            "`--vllm async` trains in one process",
            f"{engine} with {counted(processes, 'process', 'processes')} was launched, which has not been checked",
            "omit the launcher; the server may use as many GPUs as it likes",
        )
    try:
        there = importlib.util.find_spec(MODULE) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        raise LoraparError(
            "`--vllm async` needs TRL's asynchronous GRPO",
            f"the installed TRL has no `{MODULE}`",
            "install the version that lorapar's `constraints.txt` names, or use `--vllm server`",
        )
