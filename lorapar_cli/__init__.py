"""LoRA-PAR: fine-tune LLMs in two systems, from staged commands that exchange artifacts on disk.

Each stage is also a function of a run directory and the stage's options:

    from pathlib import Path
    from lorapar_cli import PartitionOptions, RunDir, partition

    outcome = partition(RunDir(Path("lorapar-run")), PartitionOptions(theta=0.9))
    outcome.manifest.counts

`OFFERED` lists these names. Each is imported when it is first used, so that `import lorapar_cli`
takes no time and needs no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

OFFERED = {
    "classify": "lorapar_cli.labelling.classify",
    "ClassifyOptions": "lorapar_cli.labelling.options",
    "score": "lorapar_cli.scoring.score",
    "ScoreOptions": "lorapar_cli.scoring.options",
    "partition": "lorapar_cli.partition.partition",
    "PartitionOptions": "lorapar_cli.partition.options",
    "train_sft": "lorapar_cli.training.train_sft",
    "SftOptions": "lorapar_cli.training.options",
    "train_rl": "lorapar_cli.training.train_rl",
    "RlOptions": "lorapar_cli.training.options",
    "evaluate": "lorapar_cli.evaluation.evaluate",
    "EvalOptions": "lorapar_cli.evaluation.options",
    "compare": "lorapar_cli.comparison.compare",
    "CompareOptions": "lorapar_cli.comparison.options",
    "RunDir": "lorapar_cli.store.run_dir",
    "LoraparError": "lorapar_cli.errors",
}
"""Name of the Python interface -> the module that defines it."""
__all__ = list(OFFERED)


def __getattr__(name: str) -> Any:
    if name not in OFFERED:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    try:
        return getattr(import_module(OFFERED[name]), name)
    except ImportError as error:
        explained = import_module("lorapar_cli.libraries").explain_import(error)
        if explained is None:
            raise
        raise explained from error


def __dir__() -> list[str]:
    return sorted({*globals(), *OFFERED})
