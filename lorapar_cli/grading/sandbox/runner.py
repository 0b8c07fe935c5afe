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
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox.process import BACKENDS, UNSAFE, role_process
from lorapar_cli.grading.sandbox.system_calls import describe_system_calls


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
            f"    prevented = candidate({str(secret)!r}, {str(target)!r})\n"
            f"    missing = set({_PREVENTED!r}) - set(prevented)\n"
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
        rlimits = limits.to_rlimits()
        server = stack.enter_context(role_process("server", backend, rlimits, channel=answers))
        stack.enter_context(
            role_process("checker", backend, rlimits, channel=calls, result_channel=theirs)
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
