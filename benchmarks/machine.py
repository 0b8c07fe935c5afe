"""The machine the figures were measured on, and child processes measured from outside."""

import json
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
    """Runs this Python with arguments; start, imports and output files are part of the time.

    A process's peak memory counts what its parent held when it was started, so that a small
    process in between, this file, starts and measures it.
    """
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed: python {' '.join(arguments)}\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout))


def measure(arguments: list[str]) -> dict[str, object]:
    """Runs Python with arguments as a child and returns `Measured`'s fields."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(code)
    return {"seconds": seconds, "megabytes": usage.ru_maxrss / 1024, "output": output}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
