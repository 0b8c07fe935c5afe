"""Runs commands under faults: each in a process forked from one that has imported everything.

A case is lost where a fault ends in a traceback or hangs, where a command succeeds with another
result than it has without the fault, or where a result that existed before is gone.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_SECONDS = 90.0
NOBODY = 65534


class Lost(Exception):
    """What a fault destroyed or showed that it must not."""


class Untried(Exception):
    """Why a case cannot be tried on this machine."""


@dataclass(frozen=True)
class Case:
    """One fault and what must hold under it.

    Attributes:
        kind: Row of the table.
        name: Unique within the kind; with the seed it decides everything random in the case.
        check: Tries it in an empty folder of its own.

    Raises of `check`:
        Lost, Untried.
    """

    kind: str
    name: str
    check: Callable[[Path], None] = field(compare=False)


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
        code: Exit code; negative for the signal that ended it; None where it had to be stopped.
    """

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def refused(self) -> bool:
        """Whether it ended as an expected error."""
        return self.code in (1, 2) and "error: " in self.err

    def require_sane(self) -> "Result":
        """Raises Lost for a hang, a traceback, or an end that says nothing."""
        said = f"`lorapar {' '.join(self.arguments)}`"
        if self.code is None:
            raise Lost(f"{said} hung for {self.seconds:.0f} s")
        if "Traceback" in self.err:
            raise Lost(f"{said}: traceback: {self.err.strip().splitlines()[-1][:300]}")
        if self.code not in (0, 130) and not self.refused:
            raise Lost(f"{said} ended with {self.code} and said {self.err[-300:]!r}")
        return self


@dataclass
class Running:
    """A command that has been started."""

    arguments: tuple[str, ...]
    pid: int
    out: Path
    err: Path
    started: float

    def send(self, number: int) -> None:
        """Sends a signal to the command's whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> Result:
        """Returns its result; after the timeout it is stopped."""
        code: int | None = None
        while time.monotonic() - self.started < timeout:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.005)
        else:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
        out = self.out.read_text(encoding="utf-8", errors="replace")
        err = self.err.read_text(encoding="utf-8", errors="replace")
        return Result(self.arguments, code, out, err, time.monotonic() - self.started)


def warm_up() -> None:
    """Imports what commands need, so that a forked one starts at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import trl  # noqa: F401

    from lorapar_cli.cli import main
    from lorapar_cli.evaluation import evaluate  # noqa: F401
    from lorapar_cli.labelling import classify  # noqa: F401
    from lorapar_cli.partition import partition  # noqa: F401
    from lorapar_cli.scoring import score, score_run  # noqa: F401
    from lorapar_cli.training import grpo, sft, train_rl, train_sft  # noqa: F401

    main.register()


def start(
    arguments: Iterable[str],
    logs: Path,
    *,
    cwd: Path,
    environment: dict[str, str] | None = None,
    unprivileged: bool = False,
) -> Running:
    """Starts a command in a forked process of its own group.

    Args:
        logs: Folder for what it prints.
        environment: Added to this process's.
        unprivileged: Whether it runs as a user who may not write everywhere; needs root.
    """
    given = tuple(arguments)
    number = len(list(logs.glob("*.out")))
    out, err = logs / f"{number}.out", logs / f"{number}.err"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(given, out, err, cwd, environment or {}, unprivileged)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    return Running(given, pid, out, err, time.monotonic())


def _become(
    arguments: tuple[str, ...],
    out: Path,
    err: Path,
    cwd: Path,
    environment: dict[str, str],
    unprivileged: bool,
) -> None:
    """Turns the forked process into the command; never returns."""
    code = 70
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
        for path, descriptor in ((out, 1), (err, 2)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, descriptor)
            os.close(opened)
        sys.stdout = io.TextIOWrapper(
            os.fdopen(1, "wb", closefd=False), "utf-8", line_buffering=True
        )
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True
        )
        os.chdir(cwd)
        os.environ.update({"NO_COLOR": "1", "HF_HUB_OFFLINE": "1"} | environment)
        if unprivileged:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.environ["HOME"] = "/nonexistent"
        from lorapar_cli.cli.main import main

        try:
            main(list(arguments))
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException:
            traceback.print_exc()
            code = 71
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def run(arguments: Iterable[str], logs: Path, *, cwd: Path, **options) -> Result:
    """Runs a command to its end."""
    timeout = options.pop("timeout", TIMEOUT_SECONDS)
    return start(arguments, logs, cwd=cwd, **options).wait(timeout)


def digests(folder: Path) -> dict[str, str]:
    """Returns path -> sha256 of a stage folder's outputs, as its manifest lists them.

    What lies there is hashed, not what the manifest says of it.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in manifest["outputs"]
    }


def random_moments(seed: int, name: str, count: int, seconds: float) -> Iterator[float]:
    """Yields moments between the start and a little after the usual end of a command."""
    for number in range(count):
        digest = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
        yield int.from_bytes(digest[:4], "little") / 2**32 * seconds * 1.05


def fraction(*parts: object) -> float:
    """Returns a number from 0 to below 1 that depends on the parts alone."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2**48
