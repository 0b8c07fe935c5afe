"""Starts and ends the two confined processes that run one program and its tests."""

import base64
import functools
import json
import marshal
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.grading.sandbox.packages import Packages
from lorapar_cli.grading.sandbox.system_calls import describe_system_calls

BACKENDS = ("bubblewrap", "landlock")
UNSAFE = "none"
TMP_BYTES = 16 * 2**20
"""Size of the folder that a program may write to."""
_STDERR_KEPT = 4096
# The modules that run inside, in the order in which they need one another.
_INSIDE = ("confine", "wire", "peer", "child")
_START = """
import binascii, json, marshal, sys, types
for name, code in marshal.loads(binascii.a2b_base64(sys.argv[1])):
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, vars(module))
module.main(sys.argv[2], json.loads(sys.argv[3]))
"""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass
class RoleProcess:
    """A process that has one of the two roles in `child.py`.

    Attributes:
        stderr: Descriptor of its stderr, which does not block.
        exit_code: Once it has ended; negative for a signal.
    """

    stderr: int
    exit_code: int = 0
    _tail: bytes = b""

    def drain(self) -> bool:
        """Reads what there is on stderr, and keeps its end; returns whether more may come."""
        try:
            part = os.read(self.stderr, 2**20)
        except BlockingIOError:
            return True
        self._tail = (self._tail + part)[-_STDERR_KEPT:]
        return bool(part)

    @property
    def last_words(self) -> str:
        """The last line of its stderr."""
        text = self._tail.decode(errors="replace").strip()
        return text.splitlines()[-1][:300] if text else "nothing on stderr"


@contextmanager
def role_process(
    role: str,
    backend: str,
    rlimits: dict[str, int],
    packages: Packages,
    scratch: Path | None,
    **sockets: socket.socket,
) -> Iterator[RoleProcess]:
    """Runs a role's process; ends it and everything that it started when the block ends.

    Args:
        role: `server` or `checker`.
        backend: One of `BACKENDS`, or `UNSAFE`.
        rlimits: Resource limits by the names of `resource.RLIMIT_*`.
        packages: What it may import besides the standard library.
        scratch: The folder that it may write to; None inside bubblewrap, which makes one.
        sockets: The role's channels, under the names that `child.main` has for them.
    """
    described = {name: end.fileno() for name, end in sockets.items()}
    landlock = backend == "landlock"
    settings = described | {
        "limits": rlimits,
        "confined": backend != UNSAFE,
        "readable": [*_runtime_paths(), *packages.folders] if landlock else None,
        "writable": [*_DEVICES, *([str(scratch)] if scratch else [])],
        "packages": dict(packages.places),
        "system_calls": describe_system_calls(os.uname().machine),
    }
    arguments = ["-P", "-s", "-S", "-c", _START, _inside(), role, json.dumps(settings)]
    info, told = os.pipe()
    process = subprocess.Popen(
        [*_wrapper(backend, told, packages), _interpreter(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(scratch),
        cwd=scratch or "/",
        # Only bubblewrap uses the pipe, and closes it before the program starts.
        pass_fds=(*described.values(), *([told] if backend == "bubblewrap" else [])),
        start_new_session=True,
    )
    os.close(told)
    if process.stderr is None:
        raise AssertionError("stderr is a pipe")
    with process.stderr as stderr:
        os.set_blocking(stderr.fileno(), False)
        running = RoleProcess(stderr.fileno())
        try:
            yield running
        finally:
            first = _first_process(info)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            running.exit_code = process.wait()
            if first is not None:
                # Readable once the first process has ended, which is the last one to end.
                select.select([first], [], [], 5)
                os.close(first)
            # Nothing writes any more: what is left is at most what a pipe holds.
            running.drain()


def _environment(scratch: Path | None) -> dict[str, str]:
    """Returns the environment of a role: the same for every caller."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {
        "PYTHONHASHSEED": "0",
        # Half a surrogate pair can be printed, as where output is kept as text.
        "PYTHONIOENCODING": "utf-8:surrogatepass",
        # Programs may print whole numbers of any length: time is limited as it is.
        "PYTHONINTMAXSTRDIGITS": "0",
        # A thread's own arena takes address space that is never used.
        "MALLOC_ARENA_MAX": "1",
        "TMPDIR": str(scratch or "/tmp"),
        **threads,
    }


def _first_process(info: int) -> int | None:
    """Returns a descriptor of the first process inside bubblewrap, None for other backends."""
    os.set_blocking(info, False)
    with open(info, "rb", buffering=0) as pipe:
        told = pipe.read(4096)
    try:
        return os.pidfd_open(json.loads(told)["child-pid"]) if told else None
    except (ValueError, ProcessLookupError):
        return None


@functools.cache
def _inside() -> str:
    """Returns the names and the compiled code of the modules that run inside, for this interpreter.

    Compiling them anew takes longer than most programs run.
    """
    folder = Path(__file__).parent
    compiled = [
        (name, compile((folder / f"{name.rpartition('.')[2]}.py").read_bytes(), name, "exec"))
        for name in (f"{__package__}.{each}" for each in _INSIDE)
    ]
    return base64.b64encode(marshal.dumps(compiled)).decode()


@functools.cache
def _interpreter() -> str:
    """Returns the interpreter itself: that of a virtual environment links to a user's folder."""
    return os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]


@functools.cache
def _runtime_paths() -> list[str]:
    """Returns what an interpreter reads at start: itself, its library, the system's libraries."""
    own = [_interpreter(), str(Path(sys.base_prefix) / "lib")]
    shared = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"]
    return [path for path in [*own, *shared] if Path(path).exists()]


def _wrapper(backend: str, told: int, packages: Packages) -> list[str]:
    """Returns the command prefix that confines another command; empty except for bubblewrap.

    Args:
        told: A descriptor to which bubblewrap writes the id of its first process.
        packages: What can be read besides the interpreter.
    """
    if backend != "bubblewrap":
        return []
    mounts = []
    for path in _runtime_paths():
        if Path(path).is_symlink():
            mounts += ["--symlink", os.readlink(path), path]
        else:
            mounts += ["--ro-bind", path, path]
    for path in packages.folders:
        mounts += ["--ro-bind", path, path]
    return [
        shutil.which("bwrap") or "bwrap",
        *("--info-fd", str(told), "--die-with-parent"),
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *("--new-session", "--cap-drop", "ALL"),
        *mounts,
        *("--dev", "/dev", "--remount-ro", "/dev"),
        *("--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"),
        "--",
    ]
