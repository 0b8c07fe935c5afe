"""Signals at random moments, and two commands at once in one run directory."""

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path

from tests.faults.harness import Case, Lost, Result, digests, fraction, run, start
from tests.faults.pipeline import FOLDERS, STAGES, pipeline, require_clean

SIGNALS = "signals"
PAIRS = "two commands at once"
MOMENTS = 20
NUMBERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def cases(seed: int) -> Iterator[Case]:
    for stage in STAGES:
        for number in range(MOMENTS):
            yield Case(SIGNALS, f"{stage}, moment {number}", partial(_killed, stage, number, seed))
        for number in range(3):
            name = f"{stage} over a finished result, moment {number}"
            yield Case(SIGNALS, name, partial(_killed_again, stage, number, seed))
    for first, second in combinations_with_replacement(STAGES, 2):
        for number in range(2):
            name = f"{first} and {second}, {number}"
            yield Case(PAIRS, name, partial(_pair, first, second, number, seed))


def _killed(stage: str, number: int, seed: int, folder: Path) -> None:
    """A first run is stopped somewhere; the same command then gives the clean result."""
    run_dir = pipeline().before(folder, stage)
    logs = folder / "logs"
    logs.mkdir()
    _stop_in_between(stage, number, seed, folder, logs).require_sane_after_signal()
    done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
    if done.code != 0:
        raise Lost(f"{stage} cannot be repeated: {done.err[:300]}")
    require_clean(run_dir, stage)


def _killed_again(stage: str, number: int, seed: int, folder: Path) -> None:
    """A run that replaces a result is stopped: the old result or the new one is there, whole."""
    run_dir = pipeline().copy(folder, stage)
    logs = folder / "logs"
    logs.mkdir()
    more = {"classify": ["--seed", "1"], "score": ["--seed", "1"], "partition": ["--theta", "0.5"]}
    changed = more.get(stage, ["--seed", "1"]) + (["--overwrite"] if "train" in stage else [])
    running = start([*pipeline().command(stage), *changed], logs, cwd=folder)
    time.sleep(fraction(seed, stage, number) * pipeline().seconds[stage] * 1.1)
    running.send(signal.SIGKILL)
    running.wait()
    status = run(["status", "--run-dir", "run"], logs, cwd=folder).require_sane()
    if status.code != 0:
        raise Lost(f"status fails: {status.err[:300]}")
    found = digests(run_dir / FOLDERS[stage])
    if found != pipeline().clean[stage]:
        finished = run([*pipeline().command(stage), *changed], logs, cwd=folder).require_sane()
        if finished.code != 0 or digests(run_dir / FOLDERS[stage]) != found:
            raise Lost(f"{stage}: neither the old result nor the new one")


def _stop_in_between(stage: str, number: int, seed: int, folder: Path, logs: Path):
    running = start(pipeline().command(stage), logs, cwd=folder)
    time.sleep(fraction(seed, stage, number) * pipeline().seconds[stage] * 1.05)
    sent = NUMBERS[number % len(NUMBERS)]
    running.send(sent)
    return _Stopped(running.wait(), sent)


class _Stopped:
    def __init__(self, result: Result, sent: signal.Signals) -> None:
        self.result, self.sent = result, sent

    def require_sane_after_signal(self) -> None:
        ended_by = (-self.sent, 128 + self.sent, 0)
        if self.result.code not in (*ended_by, 130):
            self.result.require_sane()
        if "Traceback" in self.result.err:
            raise Lost(f"traceback after {self.sent.name}: {self.result.err[-300:]}")


def _pair(first: str, second: str, number: int, seed: int, folder: Path) -> None:
    """Two stages of one run directory at once: each gives its clean result or a clear refusal."""
    later = max(first, second, key=STAGES.index)
    run_dir = pipeline().before(folder, later)
    logs = folder / "logs"
    logs.mkdir()
    chance = random.Random(f"{seed} {first} {second} {number}")
    running = [start(pipeline().command(first), logs, cwd=folder)]
    time.sleep(chance.random() * pipeline().seconds[first] * 0.7)
    other = folder / "logs2"
    other.mkdir()
    running.append(start(pipeline().command(second), other, cwd=folder))
    for one in running:
        one.wait().require_sane()
    for stage in (first, second):
        done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
        if done.code != 0:
            raise Lost(f"{stage} fails afterwards: {done.err[:300]}")
        require_clean(run_dir, stage)
