"""Processes that jobs run in, side by side, each on a GPU of its own where there are several.

Each process reads an opening and then jobs as lines of JSON from its standard input, and answers
each job with a line. What a job makes is on disk by then. Processes end with the command, however
it ends.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lorapar_cli.errors import LoraparError

_PR_SET_PDEATHSIG = 1

Job = Mapping[str, Any]
Runner = Callable[[Job], None]
"""Runs one job in a process that has been opened for it."""


def environment_of(number: int, jobs: int, gpus: int, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of one of the processes.

    Args:
        number: From 0.
        gpus: Number of GPUs on this machine.
        given: Environment of the command. GPUs and threads that it names are respected.
    """
    own = dict(given)
    named = given.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(index) for index in range(gpus)]
    if devices:
        own["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    own.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return own


class Processes:
    """Runs up to `count` jobs at a time, each in a process of its own.

    Use it as a context: leaving it ends the processes.

    Args:
        module: Module that each process runs; its `main` calls `serve_parent`.
        opening: What each process is told before its first job.
        logs: Folder that gets what they print, one file each.
    """

    def __init__(self, module: str, opening: Job, logs: Path, count: int) -> None:
        self._logs = logs
        self._waiting: list[Job] = []
        self._working: dict[int, Job] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._selector = selectors.DefaultSelector()
        for number in range(count):
            self._start(module, number, count)
            self._tell(number, opening)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._selector.close()

    def _start(self, module: str, number: int, count: int) -> None:
        import torch

        path = self._log_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment_of(number, count, torch.cuda.device_count(), os.environ),
            )
        self._processes.append(process)
        self._selector.register(_stream(process.stdout), selectors.EVENT_READ, number)

    def _log_path(self, number: int) -> Path:
        return self._logs / f"process-{number}.log"

    def _tell(self, number: int, value: Job) -> None:
        stream = _stream(self._processes[number].stdin)
        # A process that has ended is noticed by its closed output.
        with suppress(BrokenPipeError):
            stream.write(json.dumps(value, default=str) + "\n")
            stream.flush()

    def submit(self, job: Job) -> None:
        """Takes a job; of those that wait, the first one is run first."""
        self._waiting.append(job)
        self._hand_out()

    def _hand_out(self) -> None:
        for number in range(len(self._processes)):
            if self._waiting and number not in self._working:
                self._working[number] = self._waiting.pop(0)
                self._tell(number, self._working[number])

    def wait(self) -> tuple[Job, LoraparError | None]:
        """Returns a job that has finished, and the error that it failed with, if any.

        Raises:
            LoraparError: A process has ended.
        """
        key, _ = self._selector.select()[0]
        number = int(key.data)
        line = _stream(self._processes[number].stdout).readline()
        job = self._working.pop(number, None)
        if not line or job is None:
            raise LoraparError(
                "a process of the comparison has ended",
                f"{_ending(self._processes[number].wait())}, its log is `{self._log_path(number)}`",
                "run the same command again: finished trainings are kept",
            )
        answer = json.loads(line)
        self._hand_out()
        return job, LoraparError(*answer["error"]) if "error" in answer else None


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise AssertionError("the process was started without pipes")
    return stream


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(open_runner: Callable[[Job], Runner], asked: IO[str], answers: IO[str]) -> None:
    """Runs the jobs of the lines of `asked`, the first of which is the opening."""
    run = open_runner(json.loads(asked.readline()))
    for line in asked:
        answer: dict[str, Any] = {}
        try:
            run(json.loads(line))
        except LoraparError as error:
            answer["error"] = [error.what, error.found, error.hint]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def serve_parent(open_runner: Callable[[Job], Runner]) -> None:
    """Serves the command whose process number is the first argument of this one."""
    _end_with(int(sys.argv[1]))
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(open_runner, sys.stdin, answers)


def _end_with(parent: int) -> None:
    """Makes the kernel end this process with its parent, where the system can do that."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
