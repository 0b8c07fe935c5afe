"""A process that runs steps of a sweep (`comparison.processes`)."""

from pathlib import Path

from lorapar_cli.comparison.processes import Job, Processes, Runner, serve_parent
from lorapar_cli.comparison.sweep.run_step import from_job, run_step


def start_processes(root: Path, logs: Path, count: int) -> Processes:
    """Returns processes that run steps in the folder `root`."""
    return Processes(__name__, {"root": str(root)}, logs, count)


def open_runner(opening: Job) -> Runner:
    """Returns what runs the steps of a sweep."""
    root = Path(opening["root"])

    def run(job: Job) -> None:
        run_step(root, from_job(job))

    return run


if __name__ == "__main__":
    serve_parent(open_runner)
