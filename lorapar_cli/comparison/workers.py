"""Trainings side by side: processes that take one after the other, each on a GPU of its own.

A process reads the comparison and then trainings as lines of JSON from its standard input, and
answers each with a line. Results are on disk by then. Processes end with the command, however it
ends.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lorapar_cli.comparison.cells import as_option_value
from lorapar_cli.comparison.grid import Grid, open_grid
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.schedule import Pool
from lorapar_cli.comparison.train import Trainer, training_options
from lorapar_cli.comparison.trials import Trial, TrialResult, read_result, trial_folder
from lorapar_cli.errors import LoraparError
from lorapar_cli.options import options_of
from lorapar_cli.store.run_dir import RunDir

_PR_SET_PDEATHSIG = 1


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


class Workers(Pool):
    """Runs up to `jobs` trainings at a time, each in a process of its own.

    Use it as a context: leaving it ends the processes.
    """

    def __init__(self, grid: Grid, jobs: int) -> None:
        self._grid = grid
        self._waiting: list[Trial] = []
        self._working: dict[int, Trial] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._selector = selectors.DefaultSelector()
        for number in range(jobs):
            self._start(number, jobs)

    def __enter__(self) -> "Workers":
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

    def _start(self, number: int, jobs: int) -> None:
        import torch

        path = self._log_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lorapar_cli.comparison.workers", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment_of(number, jobs, torch.cuda.device_count(), os.environ),
            )
        self._processes.append(process)
        self._selector.register(_stream(process.stdout), selectors.EVENT_READ, number)
        stated = {"run_dir": str(self._grid.run_dir.root), "options": asdict(self._grid.options)}
        self._tell(number, stated)

    def _log_path(self, number: int) -> Path:
        return self._grid.root / "logs" / f"process-{number}.log"

    def _tell(self, number: int, value: Mapping[str, Any]) -> None:
        stream = _stream(self._processes[number].stdin)
        # A process that has ended is noticed by its closed output.
        with suppress(BrokenPipeError):
            stream.write(json.dumps(value, default=str) + "\n")
            stream.flush()

    def submit(self, trial: Trial) -> None:
        """Takes a training; what it starts from is made here, so that no two processes make it."""
        cell = self._grid.cell(trial.cell)
        training_options(self._grid, cell, trial, trial_folder(self._grid, trial))
        self._waiting.append(trial)
        self._hand_out()

    def _hand_out(self) -> None:
        for number in range(len(self._processes)):
            if self._waiting and number not in self._working:
                self._working[number] = self._waiting.pop(0)
                self._tell(number, self._working[number].to_json())

    def wait(self) -> tuple[Trial, TrialResult]:
        """Returns a training that has finished, with its result.

        Raises:
            LoraparError: A training failed, or its process ended.
        """
        key, _ = self._selector.select()[0]
        number = int(key.data)
        line = _stream(self._processes[number].stdout).readline()
        trial = self._working.pop(number, None)
        if not line or trial is None:
            raise LoraparError(
                "a process of the comparison has ended",
                f"{_ending(self._processes[number].wait())}, its log is `{self._log_path(number)}`",
                "run the same command again: finished trainings are kept",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise LoraparError(*answer["error"])
        result = read_result(trial_folder(self._grid, trial))
        if result is None:
            raise AssertionError(f"{trial} has no result")
        self._hand_out()
        return trial, result


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise AssertionError("the process was started without pipes")
    return stream


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end_with(parent: int) -> None:
    """Makes the kernel end this process with its parent, where the system can do that."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def serve(asked: IO[str], answers: IO[str]) -> None:
    """Runs the trainings of the lines of `asked`, the first of which is the comparison."""
    stated = json.loads(asked.readline())
    kinds = {each.name: each.kind for each in options_of(CompareOptions)}
    options = CompareOptions(
        **{name: as_option_value(kinds[name], value) for name, value in stated["options"].items()}
    )
    trainer = Trainer(open_grid(RunDir(Path(stated["run_dir"])), options))
    for line in asked:
        answer: dict[str, Any] = {}
        try:
            trainer.run(Trial.from_json(json.loads(line)))
        except LoraparError as error:
            answer["error"] = [error.what, error.found, error.hint]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serves the command whose process number is the first argument."""
    _end_with(int(sys.argv[1]))
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
