import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.core.holdout import choose_held_out, choose_share, draw, held_out_count


def chosen_names(names, groups, count, seed=0):
    draws = np.array([draw(name, seed, "records") for name in names], np.uint64)
    held = choose_held_out(draws, np.array(groups, np.uint64), count)
    return {name for name, taken in zip(names, held, strict=True) if taken}


def test_the_choice_depends_on_names_and_seed_and_not_on_order():
    names = [f"record-{i}" for i in range(500)]
    groups = {name: i for i, name in enumerate(names)}
    chosen = chosen_names(names, [groups[n] for n in names], 40)
    assert len(chosen) == 40
    backwards = names[::-1]
    assert chosen_names(backwards, [groups[n] for n in backwards], 40) == chosen
    assert chosen_names(names, [groups[n] for n in names], 40, seed=1) != chosen
    # Taking a record away that was not chosen changes nothing.
    fewer = [n for n in names if n in chosen or n.endswith("7")]
    assert chosen_names(fewer, [groups[n] for n in fewer], 40) == chosen


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(0, 40))
def test_groups_are_never_torn_and_the_count_is_never_passed(groups, count):
    draws = np.array([draw(str(i), 0, "x") for i in range(len(groups))], np.uint64)
    held = choose_held_out(draws, np.array(groups, np.uint64), count)
    assert held.sum() <= count
    for group in set(groups):
        assert len({bool(h) for h, g in zip(held, groups, strict=True) if g == group}) == 1


def test_counts():
    assert held_out_count(7473, 0.05, 500) == 374
    assert held_out_count(100_000, 0.05, 500) == 500
    assert held_out_count(10, 0.0, 500) == 0
    assert held_out_count(1, 0.9, 500) == 0


def test_a_random_share_is_exact():
    draws = np.array([draw(str(i), 3, "x") for i in range(1001)], np.uint64)
    assert choose_share(draws, 0.3).sum() == 300
    assert choose_share(draws, 0.0).sum() == 0
    assert choose_share(draws, 1.0).sum() == 1001
    assert (choose_share(draws, 0.6) >= choose_share(draws, 0.3)).all()
