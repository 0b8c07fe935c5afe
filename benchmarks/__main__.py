"""Runs every benchmark; `python -m benchmarks score` runs one."""

import sys

from benchmarks import evaluate, partition, score, train
from benchmarks.machine import describe

ALL = {
    "evaluate": evaluate.main,
    "partition": partition.main,
    "score": score.main,
    "train": train.main,
}

if __name__ == "__main__":
    print(describe())
    for name in sys.argv[1:] or ALL:
        ALL[name]()
