"""Trainings with made-up figures."""

import numpy as np

from lorapar_cli.comparison.schedule import StageOutcome


def result(losses, correct=None, active=100):
    """Returns the result of one training: loss of each System-1 record, the same for System 2."""
    right = [1] * len(losses) if correct is None else correct
    return {
        "seconds": 2.0,
        "active": active,
        "elements": 1000,
        "steps": 5,
        "losses": {"system1": list(losses), "system2": [loss + 1 for loss in losses]},
        "correct": {"system1": list(right), "system2": list(right)},
        "kl": 0.25,
        "neutral_loss": 3.0,
    }


def outcome(mean, *, spread=0.01, records=40, seeds=3, draw=0, active=100):
    """Returns a stage outcome whose losses are around a mean, noise of its own on each."""
    noise = np.random.default_rng(draw)
    shared = np.random.default_rng(99).normal(0, 0.3, records)
    results = {
        seed: result((mean + shared + noise.normal(0, spread, records)).tolist(), active=active)
        for seed in range(1, seeds + 1)
    }
    return StageOutcome(0.001, {0.0003: 0.5, 0.001: 0.4, 0.003: float("inf")}, results)
