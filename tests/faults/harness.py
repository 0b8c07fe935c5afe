"""Runs commands under faults: each in a process forked from one that has imported everything.

A case is lost where a fault ends in a traceback or hangs, where a command succeeds with another
result than it has without the fault, or where a result that existed before is gone.
"""

import contextlib
import ctypes
import faulthandler
import hashlib
import io
import json
import os
import re
import select
import signal
import sys
import termios
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.limits import patience

TIMEOUT_SECONDS = 60.0
MOST_BYTES = 4 * 2**30
_CAPABILITY_VERSION = 0x20080522
_TIMES = re.compile(rb'"(step_time|refill/seconds|seconds)": [0-9.e-]+')


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
        check: Tries it in an empty folder of its own; raises Lost or Untried.
        quick: Whether it stands for its kind in the default tests.
    """

    kind: str
    name: str
    check: Callable[[Path], None] = field(compare=False)
    quick: bool = False


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
    def said(self) -> str:
        """All that it wrote."""
        return self.out + self.err

    @property
    def refused(self) -> bool:
        """Whether it ended as an expected error."""
        return self.code in (1, 2) and "error: " in self.err

    def require_sane(self) -> "Result":
        """Raises Lost for a hang, a traceback, or an end that says nothing."""
        said = f"`lorapar {self.arguments[0]}`"
        if self.code is None:
            raise Lost(f"{said} hung for {self.seconds:.0f} s")
        if "Traceback" in self.err:
            raise Lost(f"{said}: traceback: {self.err.strip().splitlines()[-1][:300]}")
        if self.code not in (0, 130) and not self.refused:
            raise Lost(f"{said} ended with {self.code} and said {self.err[-300:]!r}")
        return self

    def require_refused(self, *words: str) -> "Result":
        """Raises Lost unless it ended as an expected error that names all of `words`.

        A word is lower case; one of several words separated by `|` is enough.
        """
        self.require_sane()
        if not self.refused:
            raise Lost(f"`lorapar {self.arguments[0]}` was not refused: {self.said[-300:]}")
        said = self.err.lower()
        for word in words:
            if not any(one.lower() in said for one in word.split("|")):
                raise Lost(f"does not say {word!r}: {self.err[-400:]}")
        return self

    def require_done(self) -> "Result":
        """Raises Lost unless it ended well."""
        self.require_sane()
        if self.code != 0:
            raise Lost(f"`lorapar {self.arguments[0]}` fails: {self.err[-400:]}")
        return self


@dataclass
class Running:
    """A command that has been started.

    Attributes:
        terminal: Both ends of the terminal that it writes to instead of files, ours first.
    """

    arguments: tuple[str, ...]
    pid: int
    out: Path
    err: Path
    started: float
    terminal: tuple[int, int] | None = None

    def send(self, number: int) -> None:
        """Sends a signal to the command's whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> Result:
        """Returns its result; after the timeout, times the patience, it is stopped.

        Raises:
            Lost: It takes more than 4 GiB of memory, at which it is stopped too.
        """
        code: int | None = None
        shown = b""
        while time.monotonic() - self.started < timeout * patience():
            shown += self._read_terminal()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            if _resident_bytes(self.pid) > MOST_BYTES:
                self._stop()
                raise Lost(f"`lorapar {self.arguments[0]}` took over 4 GiB of memory")
            time.sleep(0.005)
        else:
            self._stop()
        if self.terminal is not None:
            out = (shown + self._read_terminal()).decode(errors="replace")
            for end in self.terminal:
                os.close(end)
            return Result(self.arguments, code, out, out, time.monotonic() - self.started)
        out = self.out.read_text(encoding="utf-8", errors="replace")
        err = self.err.read_text(encoding="utf-8", errors="replace")
        return Result(self.arguments, code, out, err, time.monotonic() - self.started)

    def _read_terminal(self) -> bytes:
        read = b""
        while self.terminal and select.select([self.terminal[0]], [], [], 0)[0]:
            read += os.read(self.terminal[0], 1 << 16)
        return read

    def _stop(self) -> None:
        self.send(signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def warm_up() -> None:
    """Imports what commands need, so that a forked one starts at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import httpx2  # noqa: F401

    from lorapar_cli.cli import main
    from lorapar_cli.comparison.sweep import sweep  # noqa: F401
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
    environment: Mapping[str, str | None] | None = None,
    unprivileged: bool = False,
    on_terminal: bool = False,
    prepare: Callable[[], None] | None = None,
) -> Running:
    """Starts a command in a forked process of its own group.

    Args:
        logs: Folder for what it prints.
        environment: Added to this process's; a value of None removes the variable.
        unprivileged: Whether permissions bind it although it may run as root.
        on_terminal: Whether it writes to a terminal, with colours; its result's `out` and `err` are
            both what the terminal got.
        prepare: Called in the process before the command, to change what it finds there.
    """
    given = tuple(arguments)
    number = len(list(logs.glob("*.out")))
    out, err = logs / f"{number}.out", logs / f"{number}.err"
    # Here, so that the next command takes another number and a result can be read at any time.
    out.touch()
    err.touch()
    terminal = None
    if on_terminal:
        terminal = _open_terminal()
        out = err = Path(os.ttyname(terminal[1]))
        environment = {"NO_COLOR": None, "TERM": "xterm-256color"} | dict(environment or {})
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(given, out, err, cwd, environment or {}, unprivileged, prepare)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    return Running(given, pid, out, err, time.monotonic(), terminal)


def _open_terminal() -> tuple[int, int]:
    """Returns both ends of a wide terminal that passes on what it gets as it is, ours first."""
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    termios.tcsetwinsize(theirs, (50, 300))
    return ours, theirs


def _become(
    arguments: tuple[str, ...],
    out: Path,
    err: Path,
    cwd: Path,
    environment: Mapping[str, str | None],
    unprivileged: bool,
    prepare: Callable[[], None] | None,
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
        for name, value in ({"NO_COLOR": "1", "HF_HUB_OFFLINE": "1"} | dict(environment)).items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if unprivileged:
            _drop_capabilities()
        faulthandler.enable(sys.stderr)
        if prepare is not None:
            prepare()
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


def _drop_capabilities() -> None:
    """Makes permissions bind this process, as they do for whoever is not root.

    Another user would do too, but could read neither an interpreter below `/root` nor the folder of
    a case.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def run(arguments: Iterable[str], logs: Path, *, cwd: Path, **options) -> Result:
    """Runs a command to its end."""
    timeout = options.pop("timeout", TIMEOUT_SECONDS)
    return start(arguments, logs, cwd=cwd, **options).wait(timeout)


def make_logs(folder: Path) -> Path:
    """Returns a new folder for what commands print."""
    logs = folder / "logs"
    logs.mkdir()
    return logs


def digests(folder: Path) -> dict[str, str]:
    """Returns path -> sha256 of a stage folder's outputs, as its manifest lists them.

    What lies there is hashed, not what the manifest says of it; without the time that steps took,
    which no two runs share.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: hashlib.sha256(_without_times(folder / name)).hexdigest()
        for name in manifest["outputs"]
    }


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    return _TIMES.sub(b"", content) if path.name in ("metrics.jsonl", "refill.jsonl") else content


def fraction(*parts: object) -> float:
    """Returns a number from 0 to below 1 that depends on the parts alone."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2**48
