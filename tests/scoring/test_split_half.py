"""The two-halves comparison on data whose signal and noise are known."""

import numpy as np
import pytest

from lorapar_cli.elements.top_sets import importance_keys
from lorapar_cli.scoring.split_half import (
    average_ranks,
    compare_halves,
    half_set,
    in_words,
    jaccard,
    samples_needed,
)

ELEMENTS = 20_000


def halves(mean: np.ndarray, noise: float, samples: int, seed: int):
    """Two halves of the samples of a system with this mean gradient and noise a sample."""
    draw = np.random.default_rng(seed)
    sets = []
    for _ in range(2):
        terms = mean + draw.normal(0, noise / np.sqrt(samples / 2), ELEMENTS)
        keys = importance_keys(np.abs(terms).astype(np.float32))
        parts = np.array_split(keys, 3)
        sets.append(half_set(lambda parts=parts: parts, 0.9, np.array_split(terms, 7)))
    return sets


def systems(noise: float, samples: int, same: bool = False):
    draw = np.random.default_rng(0)
    first, second = draw.laplace(0, 1, (2, ELEMENTS))
    pair = first, first if same else second
    found = [halves(mean, noise, samples, seed) for seed, mean in enumerate(pair, 1)]
    return compare_halves(*found, 0.9, samples)


def test_clear_signal_is_above_noise():
    noise = systems(noise=1, samples=400)
    assert noise["verdict"] == "above"
    assert noise["between"] == pytest.approx(noise["chance"], abs=0.02)
    assert noise["needed"] <= 400
    assert "enough" in in_words(noise)


def test_two_systems_that_are_one_are_not_above_noise():
    noise = systems(noise=20, samples=400, same=True)
    assert noise["verdict"] == "not"
    assert "not above sampling noise" in in_words(noise)
    assert noise["needed"] is None or noise["needed"] > 10_000


def test_much_noise_is_barely_or_not_above():
    noise = systems(noise=60, samples=400)
    assert noise["verdict"] in ("barely", "not")
    assert noise["needed"] > 400
    assert f"{noise['needed']:,} samples" in in_words(noise)


@pytest.mark.parametrize("samples", [100, 400, 1600])
def test_the_extrapolation_does_not_depend_on_where_it_starts(samples):
    # Signal and noise have equal power in the mean at 30² / 2 samples (Laplace has variance 2).
    assert systems(noise=30, samples=samples)["needed"] == pytest.approx(450, rel=0.15)


def test_samples_needed_where_nothing_can_be_told():
    assert samples_needed(0.0, 0.0, 100) is None
    assert samples_needed(0.3, 0.4, 100) is None
    assert samples_needed(1.0, 0.0, 100) == 100
    assert samples_needed(0.5, 0.0, 100) == 50


def test_ranks_of_ties_are_shared():
    from scipy.stats import rankdata

    values = np.array([3, 1, 3, 2, 1, 1], np.uint32)
    assert average_ranks(values).tolist() == rankdata(values).tolist()


def test_jaccard():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert jaccard(a, b) == pytest.approx(1 / 3)
    assert jaccard(a & ~a, b & ~b) == 1
