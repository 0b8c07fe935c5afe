"""Signals at random moments, and two commands at once in one run directory."""

import errno
import fcntl
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path

from tests.faults.harness import (
    TIMEOUT_SECONDS,
    Case,
    Lost,
    Result,
    digests,
    fraction,
    make_logs,
    run,
    start,
)
from tests.faults.pipeline import CHANGED, FOLDERS, STAGES, pipeline, require_clean

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
    for stage in STAGES:
        name = f"{stage} twice, on a file system without flock"
        yield Case(PAIRS, name, partial(_pair, stage, stage, 0, seed, without_flock=True))
        name = f"looking at {stage} while it replaces its result"
        yield Case(PAIRS, name, partial(_looked_at, stage))
        for way in ("kernel", "existence"):
            name = f"{stage} where a killed one left its lock, held by {way}"
            yield Case(PAIRS, name, partial(_left_lock, stage, way, seed))


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


def _pair(
    first: str, second: str, number: int, seed: int, folder: Path, without_flock: bool = False
) -> None:
    """Two stages of one run directory at once: each gives its clean result or a clear refusal."""
    prepare = _refuse_flock if without_flock else None
    later = max(first, second, key=STAGES.index)
    run_dir = pipeline().before(folder, later)
    logs = folder / "logs"
    logs.mkdir()
    chance = random.Random(f"{seed} {first} {second} {number}")
    running = [start(pipeline().command(first), logs, cwd=folder, prepare=prepare)]
    time.sleep(chance.random() * pipeline().seconds[first] * 0.7)
    other = folder / "logs2"
    other.mkdir()
    running.append(start(pipeline().command(second), other, cwd=folder, prepare=prepare))
    for one in running:
        done = one.wait().require_sane()
        if done.refused and first == second:
            done.require_refused(f"process {running[0].pid} on|process {running[1].pid} on")
    for stage in (first, second):
        done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
        if done.code != 0:
            raise Lost(f"{stage} fails afterwards: {done.err[:300]}")
        require_clean(run_dir, stage)


def _refuse_flock(number: int = errno.ENOLCK) -> None:
    """Has this process find what some network mounts answer."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = refuse


def _looked_at(stage: str, folder: Path) -> None:
    """What only reads shows the old result or the new one, at every moment."""
    run_dir = pipeline().copy(folder, "eval")
    logs, others = make_logs(folder), folder / "others"
    others.mkdir()
    running = start([*pipeline().command(stage), *CHANGED[stage]], others, cwd=folder)
    looks = [
        ["status", "--json"],
        ["report", "--markdown"],
        ["inspect", "run/score"],
        ["inspect", "run/partition"],
    ]
    number, waited = 0, time.monotonic()
    while os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() - waited > TIMEOUT_SECONDS:
            raise Lost(f"{stage} hung")
        look = looks[number % len(looks)]
        number += 1
        shown = run(look, logs, cwd=folder, environment={"LORAPAR_RUN_DIR": "run"})
        if "damaged" in shown.require_done().out:
            raise Lost(f"{look} says damaged: {shown.out[-300:]}")
    running.wait().require_done()
    if digests(run_dir / FOLDERS[stage]) == pipeline().clean[stage]:
        raise Lost("the old result stands there as if it were the new one")


def _left_lock(stage: str, way: str, seed: int, folder: Path) -> None:
    """A lock is free again once its holder was killed, on either kind of file system."""
    run_dir = pipeline().before(folder, stage)
    logs = make_logs(folder)
    prepare = _refuse_flock if way == "existence" else None
    running = start(pipeline().command(stage), logs, cwd=folder, prepare=prepare)
    place = run_dir / FOLDERS[stage]
    lock = place.with_name(f".{place.name}.lock")
    waited = time.monotonic()
    while not (lock.exists() and lock.stat().st_size) and time.monotonic() - waited < 30:
        time.sleep(0.001)
    time.sleep(fraction(seed, stage, way) * 0.2)
    running.send(signal.SIGKILL)
    running.wait()
    run(pipeline().command(stage), logs, cwd=folder, prepare=prepare).require_done()
    require_clean(run_dir, stage)
