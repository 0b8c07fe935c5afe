"""`doctor`: whether this machine can do what the stages need, before they take hours."""

import fcntl
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox.runner import find_backend
from lorapar_cli.labelling.teachers.catalog import known_teachers
from lorapar_cli.libraries import Library, read_libraries
from lorapar_cli.store.atomic import exchange
from lorapar_cli.store.run_dir import RunDir

_LITTLE_SPACE = 20 * 2**30
_OLDEST_BFLOAT16 = (8, 0)


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        found: What was found, in words.
        hint: What to do; None where nothing needs to be done.
    """

    topic: str
    state: State
    found: str
    hint: str | None = None


def doctor(run_dir: RunDir) -> list[Finding]:
    """Returns the result of each check.

    The only thing it writes is a temporary folder where the run directory is or would be.
    """
    libraries = list(read_libraries())
    return [
        Finding("python", State.OK, f"{platform.python_version()}, {sys.executable}"),
        *_packages(libraries),
        *_extras(libraries),
        *_gpus(),
        *_run_directory(run_dir.root),
        _hub(),
        _teachers(),
        _sandbox(),
    ]


def _packages(libraries: list[Library]) -> Iterator[Finding]:
    if not libraries:
        yield Finding(
            "packages",
            State.NOTE,
            "lorapar runs from its files alone: versions are not compared",
            "install it: docs/guides/install.md",
        )
    for library in libraries:
        if library.extra is not None:
            continue
        if library.installed is None:
            hint = f"pip install '{library.required}'"
            yield Finding(library.name, State.PROBLEM, "not installed", hint)
        elif not library.fits:
            yield Finding(
                library.name,
                State.PROBLEM,
                f"{library.installed} is installed, {library.required.specifier} is required",
                "install with `-c constraints.txt`, which names the tested versions",
            )
        else:
            yield Finding(library.name, State.OK, library.installed)


def _extras(libraries: list[Library]) -> Iterator[Finding]:
    for library in libraries:
        if library.extra is None:
            continue
        topic, hint = f"extra {library.extra}", f"pip install 'lorapar[{library.extra}]'"
        if library.installed is None:
            found = f"{library.name} is not installed"
            yield Finding(topic, State.NOTE, found, f"{hint} if you need it")
        elif not library.fits:
            yield Finding(topic, State.PROBLEM, str(library), hint)
        else:
            yield Finding(topic, State.OK, f"{library.name} {library.installed}")


def _gpus() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as cause:
        yield Finding("GPU", State.PROBLEM, f"PyTorch cannot be imported: {cause}")
        return
    driver = Path("/proc/driver/nvidia/version").exists()
    if torch.version.cuda is None and torch.version.hip is None:
        hint = "install the CUDA build of PyTorch: pytorch.org/get-started"
        found = f"PyTorch {torch.__version__} is a CPU build"
        if driver:
            yield Finding("GPU", State.PROBLEM, f"{found}; the machine has an NVIDIA driver", hint)
        else:
            yield Finding("GPU", State.NOTE, f"none; {found}")
        return
    if not torch.cuda.is_available():
        state = State.PROBLEM if driver else State.NOTE
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = f"none that PyTorch {torch.__version__} can use"
        if hidden is not None:
            found += f", `CUDA_VISIBLE_DEVICES` is `{hidden}`"
        yield Finding("GPU", state, found, "compare `nvidia-smi` with PyTorch's CUDA version")
        return
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found = (
            f"{torch.cuda.get_device_name(number)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB "
            "free"
        )
        if torch.version.cuda and torch.cuda.get_device_capability(number) < _OLDEST_BFLOAT16:
            yield Finding(
                f"GPU {number}",
                State.NOTE,
                f"{found}, without native bfloat16",
                "choose `--dtype float16` or `float32`",
            )
        elif free < total / 2:
            yield Finding(f"GPU {number}", State.NOTE, found, "another process uses it")
        else:
            yield Finding(f"GPU {number}", State.OK, found)


def _run_directory(root: Path) -> Iterator[Finding]:
    """Tries the operations that publishing results and journals need of the filesystem."""
    there = root.absolute()
    while not there.is_dir() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".lorapar-doctor-", dir=there) as name:
            first, second = Path(name) / "first", Path(name) / "second"
            first.mkdir()
            second.mkdir()
            swaps = exchange(first, second)
            with open(Path(name) / "lock", "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        yield Finding(
            "run directory",
            State.PROBLEM,
            f"`{there}`: {cause.strerror}",
            "choose another folder with `--run-dir`",
        )
        return
    if swaps:
        yield Finding("run directory", State.OK, f"`{root}`: writing, locking and swapping work")
    else:
        yield Finding(
            "run directory",
            State.NOTE,
            f"`{root}`: this filesystem cannot swap two folders in one step",
            "if a command is killed while it replaces a result, the next command restores it",
        )
    free = shutil.disk_usage(there).free
    space = f"{free / 2**30:.0f} GiB free"
    if free < _LITTLE_SPACE:
        yield Finding("disk", State.NOTE, space, "checkpoints and merged models need space")
    else:
        yield Finding("disk", State.OK, space)


def _hub() -> Finding:
    from huggingface_hub import constants, get_token

    token = "a token is set" if get_token() else "no token: gated models cannot be loaded"
    offline = ", offline: only cached models can be loaded" if constants.HF_HUB_OFFLINE else ""
    return Finding("model hub", State.OK, f"cache `{constants.HF_HUB_CACHE}`, {token}{offline}")


def _teachers() -> Finding:
    known = [teacher for teacher in known_teachers().values() if teacher.kind == "api"]
    ready = [teacher.name for teacher in known if not teacher.missing()]
    if ready:
        return Finding("teachers", State.OK, f"keys are set for {', '.join(ready)}")
    return Finding(
        "teachers",
        State.NOTE,
        f"no API key is set for any of {', '.join(teacher.name for teacher in known)}",
        "`lorapar teachers` names the variables; rules and local servers need no key",
    )


def _sandbox() -> Finding:
    try:
        return Finding("sandbox", State.OK, f"generated programs are confined by {find_backend()}")
    except LoraparError as cause:
        return Finding(
            "sandbox",
            State.NOTE,
            f"{cause.what}: {'; '.join((cause.found or '').splitlines())}",
            "only `eval --task humaneval` and the reward `code` need it",
        )
