from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.labelling.holdout import choose_held_out, held_out_count, share_count
from lorapar_cli.labelling.votes.record_index import draw


@given(st.lists(st.integers(1, 8), max_size=40), st.integers(0, 40))
def test_groups_are_taken_in_order_as_long_as_they_fit(sizes, count):
    chosen = list(choose_held_out(enumerate(sizes), count))
    left, expected = count, []
    for group, size in enumerate(sizes):
        if size <= left:
            expected.append(group)
            left -= size
    assert chosen == expected
    assert sum(sizes[group] for group in chosen) <= count


def test_no_more_groups_are_read_than_are_needed():
    groups = iter((number, 1) for number in range(1000))
    assert len(list(choose_held_out(groups, 10))) == 10
    assert next(groups)[0] <= 11


def test_draws_depend_on_name_seed_and_purpose():
    draws = {draw(name, seed, use) for name in "ab" for seed in (0, 1) for use in ("x", "y")}
    assert len(draws) == 8
    assert draw("a", 0, "x") == draw("a", 0, "x") < 2**64


def test_counts():
    assert held_out_count(7473, 0.05, 500) == 374
    assert held_out_count(100_000, 0.05, 500) == 500
    assert held_out_count(10, 0.0, 500) == 0
    assert held_out_count(1, 0.9, 500) == 0
    assert [share_count(1001, share) for share in (0.0, 0.3, 1.0)] == [0, 300, 1001]
