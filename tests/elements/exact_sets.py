"""Top sets by their definition, in exact arithmetic, and importance to try them on."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lorapar_cli.elements.top_sets import Cutoff, Keys, Ranking, TopSetMask, importance_keys

IMPORTANCE = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.sampled_from([0.0, 1.0, 0.1, 2.0, 1e-45, 1e-40, 3e38]),
        st.floats(0, float(np.float32(1e30)), width=32),
    ),
)
THETA = st.one_of(st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.floats(0.001, 1.0))


def ranked(values: np.ndarray) -> list[int]:
    """Returns the elements by descending importance, equal ones in order."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def sorted_top(values: np.ndarray, theta: float) -> np.ndarray:
    """Returns the mask of the definition: the smallest prefix of the sort that reaches theta."""
    exact = [Fraction(float(value)) for value in values]
    target = Fraction(repr(theta)) * sum(exact)
    chosen = np.zeros(len(values), bool)
    reached = Fraction(0)
    for index in ranked(values):
        if reached >= target:
            break
        chosen[index] = True
        reached += exact[index]
    return chosen


def cut_by_share(keys: Keys, theta: float) -> Cutoff:
    return Ranking(keys).by_share([theta])[0]


def in_pieces(values: np.ndarray, pieces: int = 3) -> Keys:
    """Returns the keys of a vector that is split into tensors, as in an adapter."""
    return lambda: [importance_keys(part) for part in np.array_split(values, pieces)]


def pick(values: np.ndarray, cut: Cutoff) -> np.ndarray:
    """Returns the mask of the elements that a cut selects."""
    picker = TopSetMask(cut)
    return np.concatenate([picker.pick(keys) for keys in in_pieces(values)()])
