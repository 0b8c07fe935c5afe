"""Runs every benchmark; `python -m benchmarks score` runs one."""

import sys

from benchmarks import classify, evaluate, gpu, partition, recipes, score, train, verify
from benchmarks.machine import describe

ALL = {
    "classify": classify.main,
    "evaluate": evaluate.main,
    "gpu": gpu.main,
    "partition": partition.main,
    "recipes": recipes.main,
    "score": score.main,
    "train": train.main,
    "verify": verify.main,
}

if __name__ == "__main__":
    print(describe())
    for name in sys.argv[1:] or ALL:
        ALL[name]()
