"""Starts and ends the two confined processes that run one program and its tests."""

import functools
import json
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

from lorapar_cli.grading.sandbox import child
from lorapar_cli.grading.sandbox.system_calls import describe_system_calls

BACKENDS = ("bubblewrap", "landlock")
UNSAFE = "none"
_TMP_BYTES = 16 * 2**20


@dataclass
class RoleProcess:
    """A process that has one of the two roles in `child.py`.

    Attributes:
        last_words: The last line of its stderr, once it has ended.
    """

    last_words: str = "nothing on stderr"


@contextmanager
def role_process(
    role: str, backend: str, rlimits: dict[str, int], **sockets: socket.socket
) -> Iterator[RoleProcess]:
    """Runs a role's process; ends it and everything that it started when the block ends.

    Args:
        role: `server` or `checker`.
        backend: One of `BACKENDS`, or `UNSAFE`.
        rlimits: Resource limits by the names of `resource.RLIMIT_*`.
        sockets: The role's channels, under the names that `child.main` has for them.
    """
    described = {name: end.fileno() for name, end in sockets.items()}
    settings = described | {
        "limits": rlimits,
        "confined": backend != UNSAFE,
        "readable": _runtime_paths() if backend == "landlock" else None,
        "system_calls": describe_system_calls(os.uname().machine),
    }
    call = f"{_child_source()}\nmain({role!r}, json.loads(sys.argv[1]))"
    command = [_interpreter(), "-P", "-s", "-S", "-c", call, json.dumps(settings)]
    info, told = os.pipe()
    process = subprocess.Popen(
        [*_wrapper(backend, told), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PYTHONHASHSEED": "0"},
        cwd="/",
        # Only bubblewrap uses the pipe, and closes it before the program starts.
        pass_fds=(*described.values(), *([told] if backend == "bubblewrap" else [])),
        start_new_session=True,
    )
    os.close(told)
    running = RoleProcess()
    try:
        yield running
    finally:
        first = _first_process(info)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if first is not None:
            # Readable once the first process has ended, which is the last one to end.
            select.select([first], [], [], 5)
            os.close(first)
        running.last_words = _read_last_line(process) or running.last_words


def _first_process(info: int) -> int | None:
    """Returns a descriptor of the first process inside bubblewrap, None for other backends."""
    os.set_blocking(info, False)
    with open(info, "rb", buffering=0) as pipe:
        told = pipe.read(4096)
    try:
        return os.pidfd_open(json.loads(told)["child-pid"]) if told else None
    except (ValueError, ProcessLookupError):
        return None


def _read_last_line(process: subprocess.Popen[bytes]) -> str:
    """Returns the last line of an ended process's stderr, empty where it wrote none."""
    stream = process.stderr
    if stream is None:
        return ""
    with stream:
        os.set_blocking(stream.fileno(), False)
        text = (stream.read(65536) or b"").decode(errors="replace").strip()
    return text.splitlines()[-1][:300] if text else ""


@functools.cache
def _child_source() -> str:
    return Path(child.__file__).read_text(encoding="utf-8")


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


def _wrapper(backend: str, told: int) -> list[str]:
    """Returns the command prefix that confines another command; empty except for bubblewrap.

    Args:
        told: A descriptor to which bubblewrap writes the id of its first process.
    """
    if backend != "bubblewrap":
        return []
    mounts = []
    for path in _runtime_paths():
        if Path(path).is_symlink():
            mounts += ["--symlink", os.readlink(path), path]
        else:
            mounts += ["--ro-bind", path, path]
    return [
        shutil.which("bwrap") or "bwrap",
        *("--info-fd", str(told), "--die-with-parent"),
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *("--new-session", "--cap-drop", "ALL"),
        *mounts,
        *("--dev", "/dev", "--remount-ro", "/dev"),
        *("--size", str(_TMP_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"),
        "--",
    ]
