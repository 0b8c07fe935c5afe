"""Runs programs that a model wrote, each in a sandbox, and reports whether they pass their tests.

There are two ways to confine a program. Both are probed before use; the first that works is used:

- `bubblewrap`: namespaces of its own for the file system (the interpreter, read-only, and an empty
  `/tmp` of 16 MiB), the network, processes and users;
- `landlock`: only the interpreter's files can be read, and no file can be written.

In both, `child.py` adds resource limits and the list of allowed system calls
(`system_calls.ALLOWED`). Programs run in a new session, without the caller's environment.

Not covered: the kernel's own bugs, time and memory used within the limits, and, under Landlock,
whether a file outside exists and how large it is.
"""

import functools
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox import child as sandboxed
from lorapar_cli.grading.sandbox.system_calls import describe_system_calls

BACKENDS = ("bubblewrap", "landlock")
UNSAFE = "none"
_TMP_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: Wall-clock time, including the start of both interpreters; CPU time is limited to
            one second more.
        memory_mib: Address space, in MiB.
        file_mib: Size of one file, in MiB; only bubblewrap has a folder to write to.
    """

    seconds: float = 10.0
    memory_mib: int = 512
    file_mib: int = 8

    def to_rlimits(self) -> dict[str, int]:
        """Returns the limits by the names of `resource.RLIMIT_*`."""
        return {
            "CPU": int(self.seconds) + 1,
            "AS": self.memory_mib * 2**20,
            "FSIZE": self.file_mib * 2**20,
            "NOFILE": 64,
            "CORE": 0,
        }


@dataclass(frozen=True)
class Program:
    """One program and its tests.

    Attributes:
        text: The program, untrusted.
        entry_point: Name of the function that the tests call.
        setup: Trusted code that the tests need: imports, helper functions.
        test: Trusted code; a function `check(candidate)` in it is called.
    """

    text: str
    entry_point: str
    setup: str
    test: str


@dataclass(frozen=True)
class TestResult:
    """Whether a program passed its tests, and otherwise why not.

    Attributes:
        reason: One line, empty where it passed.
    """

    passed: bool
    reason: str


def find_backend(unsafe: bool = False) -> str:
    """Returns the backend to use: `bubblewrap` or `landlock`, the first that works here.

    Args:
        unsafe: Accept `none` (resource limits only) where neither works.

    Raises:
        LoraparError: Neither works; the message says why.
    """
    failures = {}
    for name in BACKENDS:
        why = probe(name)
        if why is None:
            return name
        failures[name] = why
    if unsafe:
        return UNSAFE
    raise LoraparError(
        "cannot confine code that a model wrote on this machine",
        "\n".join(f"{name}: {why}" for name, why in failures.items()),
        "install bubblewrap (`apt install bubblewrap`), or use Linux 5.13 or newer with Landlock; "
        "on a disposable machine, `--unsafe-code-execution` runs the code unconfined",
    )


_PROBE = """
import os, socket
def probe(secret, target):
    prevented = []
    for name, act in {
        "network": lambda: socket.create_connection(("127.0.0.1", 9), 1),
        "sockets": lambda: socket.socket(socket.AF_UNIX),
        "processes": os.fork,
        "signals": lambda: os.kill(1, 0),
        "/etc/passwd": lambda: open("/etc/passwd").read(),
        "files": lambda: open(secret).read(),
        "writing": lambda: open(target, "w"),
        "truncating": lambda: os.truncate(secret, 0),
    }.items():
        try:
            act()
        except OSError:
            prevented.append(name)
    return prevented
"""
_PREVENTED = [
    "network",
    "sockets",
    "processes",
    "signals",
    "/etc/passwd",
    "files",
    "writing",
    "truncating",
]


@functools.cache
def probe(backend: str) -> str | None:
    """Returns None if the backend confines a program here, otherwise what is missing."""
    if backend == "bubblewrap" and shutil.which("bwrap") is None:
        return "`bwrap` is not installed"
    machine = os.uname().machine
    if describe_system_calls(machine) is None:
        return f"no table of system calls for `{machine}`"
    with tempfile.TemporaryDirectory() as outside:
        secret, target = Path(outside) / "secret", Path(outside) / "target"
        secret.write_text("not for programs")
        test = (
            f"def check(candidate):\n"
            f"    missing = set({_PREVENTED!r}) - set(candidate({str(secret)!r}, {str(target)!r}))\n"
            f"    assert not missing, f'not prevented: {{missing}}'\n"
        )
        result = run_program(Program(_PROBE, "probe", "", test), backend, Limits())
        if target.exists() or not secret.read_text():
            return "a program could write outside its folder"
    return None if result.passed else result.reason


def run_programs(
    programs: list[Program], backend: str, limits: Limits | None = None, workers: int | None = None
) -> Iterator[TestResult]:
    """Yields each program's result in order.

    Args:
        workers: Programs that run at the same time; one per available core by default.
    """
    limits = limits or Limits()
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(lambda program: run_program(program, backend, limits), programs)


def run_program(program: Program, backend: str, limits: Limits) -> TestResult:
    """Returns whether the program passes its tests; its processes have ended by then."""
    deadline = time.monotonic() + limits.seconds
    task = {
        "nonce": secrets.token_hex(16),
        "program": program.text,
        "entry_point": program.entry_point,
        "setup": program.setup,
        "test": program.test,
    }
    ours, theirs = socket.socketpair()
    calls, answers = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(ours)
        server = stack.enter_context(_child("server", backend, limits, channel=answers))
        stack.enter_context(
            _child("checker", backend, limits, channel=calls, result_channel=theirs)
        )
        for inherited in (theirs, calls, answers):
            inherited.close()
        try:
            result = _ask(ours, task, deadline)
        except TimeoutError:
            return TestResult(False, f"no result within {limits.seconds:g} s")
        except (OSError, EOFError, ValueError):
            return TestResult(False, "the checker ended without a result")
    if result.get("nonce") != task["nonce"]:
        return TestResult(False, "the result does not come from the checker")
    reason = str(result["reason"])
    if result.get("ended"):
        reason = f"the program ended: {server.last_words}"
    return TestResult(result["passed"] is True, reason)


def _ask(channel: socket.socket, task: dict, deadline: float) -> dict:
    """Sends the checker its task and returns its result.

    Raises:
        TimeoutError: The deadline has passed.
        EOFError: The checker ended first.
    """
    payload = json.dumps(task).encode()
    channel.settimeout(max(0.01, deadline - time.monotonic()))
    channel.sendall(len(payload).to_bytes(8, "little") + payload)
    wanted, got = 8, b""
    while len(got) < wanted:
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        part = channel.recv(65536)
        if not part:
            raise EOFError
        got += part
        if len(got) >= 8:
            wanted = 8 + int.from_bytes(got[:8], "little")
    return json.loads(got[8:wanted])


@dataclass
class _Child:
    """The process of a role.

    Attributes:
        last_words: The last line of its stderr, once it has ended.
    """

    last_words: str = "nothing on stderr"


@contextmanager
def _child(role: str, backend: str, limits: Limits, **sockets: socket.socket) -> Iterator[_Child]:
    """Runs a role's process; ends it and everything that it started when the block ends."""
    described = {name: end.fileno() for name, end in sockets.items()}
    settings = described | {
        "limits": limits.to_rlimits(),
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
    child = _Child()
    try:
        yield child
    finally:
        first = _first_process(info)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if first is not None:
            # Readable once the first process has ended, which is the last one to end.
            select.select([first], [], [], 5)
            os.close(first)
        child.last_words = _read_last_line(process) or child.last_words


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
    return Path(sandboxed.__file__).read_text(encoding="utf-8")


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
