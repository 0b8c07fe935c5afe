"""Which training records become the validation part."""

from collections import Counter

import pytest

from lorapar_cli.models.measuring.validation import choose_validation, common_prompts
from lorapar_cli.store.records import Record


def records(count, same=()):
    return [Record(f"r{n}", f"Q{n if n not in same else 0}", "A") for n in range(count)]


def test_the_share_is_drawn_by_prompt_and_seed_not_by_order():
    every = records(100)
    chosen = {record.id for record in choose_validation(every, 0.1, 0)}
    assert len(chosen) == 10
    assert {record.id for record in choose_validation(every[::-1], 0.1, 0)} == chosen
    assert {record.id for record in choose_validation(every, 0.1, 1)} != chosen
    # Not simply the first or the last ones.
    assert chosen != {f"r{n}" for n in range(10)}


def test_records_of_one_prompt_stay_together():
    every = records(40, same=range(6))
    for seed in range(10):
        chosen = choose_validation(every, 0.25, seed)
        assert Counter(record.prompt for record in chosen)["Q0"] in (0, 6)
        assert len(chosen) == 10


@pytest.mark.parametrize(("count", "size"), [(1, 0), (2, 1), (3, 1), (10, 1), (5000, 200)])
def test_small_and_large_parts(count, size):
    assert len(choose_validation(records(count), 0.1, 0)) == size


def test_records_with_a_prompt_of_the_others_are_found():
    asked = [Record("a", "Q1", "x"), Record("b", [{"role": "user", "content": "Q2"}], "y")]
    trained = [Record("c", [{"content": "Q2", "role": "user"}], "z"), Record("d", "Q3", "x")]
    assert [record.id for record in common_prompts(asked, trained)] == ["b"]
