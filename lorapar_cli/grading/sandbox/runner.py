"""Runs programs that a model wrote, each in a sandbox, and reports whether they pass their tests.

There are two ways to confine a program. Both are probed before use; the first that works is used:

- `bubblewrap`: namespaces of its own for the file system (the interpreter, read-only, and an empty
  `/tmp` of 16 MiB), the network, processes and users;
- `landlock`: only the interpreter's files can be read, and only an empty folder can be written; a
  program that fills it with more than 16 MiB is ended.

In both, `confine.py` adds resource limits and the list of allowed system calls
(`system_calls.ALLOWED`). Programs run in a new session, without the caller's environment.

Not covered: the kernel's own bugs, time and memory used within the limits, and, under Landlock,
whether a file outside exists and how large it is.
"""

import functools
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox.packages import Packages
from lorapar_cli.grading.sandbox.process import (
    BACKENDS,
    TMP_BYTES,
    UNSAFE,
    RoleProcess,
    role_process,
)
from lorapar_cli.grading.sandbox.scratch import folder_size, scratch_folder
from lorapar_cli.grading.sandbox.system_calls import describe_system_calls

Failure = Literal[
    "no program", "syntax error", "timeout", "memory", "assertion", "exception", "exit"
]
"""Why a program does not pass: there is none, it is not Python, it ran out of time or memory, a test
does not hold, something raised an exception, or the program ended its process."""
_FAILURES: dict[str, Failure] = {
    "syntax error": "syntax error",
    "memory": "memory",
    "assertion": "assertion",
    "exception": "exception",
    "exit": "exit",
}
# Between two looks at the folder that a program fills.
_LOOK_SECONDS = 0.05
_OUT_OF_MEMORY = ("MemoryError", "Cannot allocate memory", "out of memory")


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: Wall-clock time, including the start of both interpreters; CPU time is limited to
            one second more.
        memory_mib: Address space of each of the two processes, in MiB.
        file_mib: Size of one file, in MiB.
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
class Sandbox:
    """How programs are run.

    Attributes:
        backend: `bubblewrap`, `landlock`, or `none`.
        packages: What they may import besides the standard library.
    """

    backend: str
    limits: Limits = Limits()
    packages: Packages = field(default_factory=Packages)


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
        failure: Its kind, None where it passed.
        reason: One line, empty where it passed.
    """

    passed: bool
    failure: Failure | None
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
        result = run_program(Program(_PROBE, "probe", "", test), Sandbox(backend))
        if target.exists() or not secret.read_text():
            return "a program could write outside its folder"
    return None if result.passed else result.reason


def run_programs(
    programs: list[Program], sandbox: Sandbox, workers: int | None = None
) -> Iterator[TestResult]:
    """Yields each program's result in order.

    Args:
        workers: Programs that run at the same time; one per available core by default.
    """
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(lambda program: run_program(program, sandbox), programs)


class _FolderFull(Exception):
    """The program has written more than its folder may hold."""


def run_program(program: Program, sandbox: Sandbox) -> TestResult:
    """Returns whether the program passes its tests; its processes have ended by then."""
    limits = sandbox.limits
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
        # The program must not be able to write to the folder of its tests.
        scratch, other = (
            stack.enter_context(scratch_folder()) if sandbox.backend != "bubblewrap" else None
            for _ in range(2)
        )
        shared = (sandbox.backend, limits.to_rlimits(), sandbox.packages)
        server = stack.enter_context(role_process("server", *shared, scratch, channel=answers))
        checker = stack.enter_context(
            role_process("checker", *shared, other, channel=calls, result_channel=theirs)
        )
        for inherited in (theirs, calls, answers):
            inherited.close()
        late = TestResult(False, "timeout", f"no result within {limits.seconds:g} s")
        try:
            result = _ask(ours, task, deadline, (server, checker), scratch)
        except TimeoutError:
            return late
        except _FolderFull:
            reason = f"the program wrote more than {TMP_BYTES // 2**20} MiB to its folder"
            return TestResult(False, "exception", reason)
        except (OSError, EOFError, ValueError):
            result = {"nonce": task["nonce"], "checker": True, "failure": "exit"}
    if result.get("nonce") != task["nonce"]:
        return TestResult(False, "exit", "the result does not come from the checker")
    if result.get("passed") is True:
        return TestResult(True, None, "")
    return _describe_failure(result, server, checker, late)


def _describe_failure(
    result: dict, server: RoleProcess, checker: RoleProcess, late: TestResult
) -> TestResult:
    """Returns the result of a program that failed; both processes have ended.

    Args:
        late: The result of one that ran out of time.
    """
    failure = _FAILURES.get(str(result["failure"]), "exception")
    reason = str(result.get("reason"))
    if (ended := result.get("ended")) or result.get("checker"):
        ender = server if ended else checker
        reason = f"the {'program' if ended else 'checker'} ended: {ender.last_words}"
        # bubblewrap reports a signal as a shell does.
        if ender.exit_code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return late
        if any(words in ender.last_words for words in _OUT_OF_MEMORY):
            failure = "memory"
    return TestResult(False, failure, reason)


def _ask(
    channel: socket.socket,
    task: dict,
    deadline: float,
    roles: tuple[RoleProcess, ...],
    scratch: Path | None,
) -> dict:
    """Sends the checker its task and returns its result; reads what both write to stderr.

    Raises:
        TimeoutError: The deadline has passed.
        EOFError: The checker ended first.
        _FolderFull: The program has written too much.
    """
    payload = json.dumps(task).encode()
    unsent = memoryview(len(payload).to_bytes(8, "little") + payload)
    channel.setblocking(False)
    got = b""
    with selectors.DefaultSelector() as ready:
        ready.register(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
        for role in roles:
            ready.register(role.stderr, selectors.EVENT_READ, role)
        while not _is_whole(got):
            if time.monotonic() > deadline:
                raise TimeoutError
            if scratch is not None and folder_size(scratch, TMP_BYTES) > TMP_BYTES:
                raise _FolderFull
            for key, events in ready.select(_LOOK_SECONDS):
                if isinstance(key.data, RoleProcess):
                    if not key.data.drain():
                        ready.unregister(key.fileobj)
                    continue
                if events & selectors.EVENT_WRITE:
                    unsent = unsent[channel.send(unsent) :]
                    if not unsent:
                        ready.modify(channel, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    part = channel.recv(65536)
                    if not part:
                        raise EOFError
                    got += part
    return json.loads(got[8:])


def _is_whole(message: bytes) -> bool:
    return len(message) >= 8 and len(message) >= 8 + int.from_bytes(message[:8], "little")
