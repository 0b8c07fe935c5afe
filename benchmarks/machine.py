"""The machine the figures were measured on, and child processes measured from outside."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


def describe() -> str:
    """Returns processor, cores, threads and the versions that decide speed, in one line."""
    from importlib.metadata import version

    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return (
        f"{processor}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}, "
        f"Python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}"
    )


@dataclass(frozen=True)
class Measured:
    """One finished child process: seconds on the clock, peak resident megabytes, its output."""

    seconds: float
    megabytes: float
    output: str


def run_python(*arguments: str) -> Measured:
    """Runs this Python with arguments; start, imports and output files are part of the time."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed: python {' '.join(arguments)}")
    return Measured(time.perf_counter() - started, usage.ru_maxrss / 1024, output)
