"""What options on speed and placement need, checked before a model is loaded."""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.libraries import require_libraries
from lorapar_cli.models.placement.engines import Engine, require_one_process
from lorapar_cli.training.speed.options import SftSpeedOptions, SpeedOptions


def require_placement(options: SpeedOptions, engine: Engine, processes: int) -> None:
    """Checks that the base model can lie where the options want it.

    Args:
        engine: What the launcher requested.
        processes: Number that it started.

    Raises:
        LoraparError: The engine divides the model itself.
        UsageError: Several processes would each want all GPUs.
    """
    if options.device_map is None:
        return
    require_one_process(options.device_map, processes)
    if engine.sharded:
        raise LoraparError(
            f"`--device-map {options.device_map}` cannot be used under {engine}",
            f"{engine} decides itself where parameters lie",
            "omit the launcher, or `--device-map`",
        )


def require_speed(options: SpeedOptions, engine: Engine, on_gpu: bool) -> None:
    """Checks that what makes steps faster can run here.

    Args:
        engine: What the launcher requested.
        on_gpu: Whether training uses a GPU.

    Raises:
        LoraparError: A compiler, package or GPU is missing, or it was never checked under the engine.
    """
    packing = isinstance(options, SftSpeedOptions) and options.packing
    if packing and engine.divides_parameters:
        raise LoraparError(
            f"`--packing` cannot be used under {engine}",
            "whether the model keeps packed records apart is checked on whole parameters",
            "omit `--packing`",
        )
    if options.compile:
        if engine.sharded:
            raise LoraparError(
                f"`--compile` cannot be used under {engine}",
                "a compiled model has not been checked there to leave frozen elements alone",
                "omit `--compile`, or launch plain data parallel with `torchrun`",
            )
        _require_compiler(on_gpu)
    if options.liger:
        _require_liger(on_gpu)


def _require_compiler(on_gpu: bool) -> None:
    """Checks what torch.compile calls: a compiler of C++, on a GPU of C, and Python's headers."""
    variable, default = ("CC", "gcc") if on_gpu else ("CXX", "g++")
    compiler = os.environ.get(variable) or default
    hint = "install it (`apt install g++ python3-dev` or the like), or omit `--compile`"
    # Triton takes either.
    if not shutil.which(compiler) and not (on_gpu and shutil.which("clang")):
        raise LoraparError(
            "`--compile` needs a compiler",
            f"there is no `{compiler}`; the environment variable `{variable}` names another",
            hint,
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise LoraparError(
            "`--compile` needs Python's headers",
            f"there is no `Python.h` in `{sysconfig.get_path('include')}`",
            hint,
        )


def _require_liger(on_gpu: bool) -> None:
    if not on_gpu:
        raise LoraparError(
            "`--liger` needs a GPU", "its kernels are written in Triton", "omit `--liger`"
        )
    if importlib.util.find_spec("liger_kernel") is None:
        raise LoraparError(
            "`--liger` needs a package",
            "liger-kernel is not installed",
            "`pip install 'lorapar[liger]'`",
        )
    require_libraries(["liger-kernel"], "`--liger`")
