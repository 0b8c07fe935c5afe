"""How many other records are replayed, and which."""

import pytest

from lorapar_cli.training.recipes.replay import draw_replay

OWN, OTHER = list(range(700)), list(range(1000, 3000))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
def test_replayed_records_have_their_share_of_all(share):
    replayed = draw_replay(OWN, OTHER, share, seed=0)
    assert set(replayed) <= set(OTHER)
    assert len(replayed) / (len(OWN) + len(replayed)) == pytest.approx(share, abs=1e-3)
    assert len(set(replayed)) == len(replayed)
    assert replayed == draw_replay(OWN, OTHER, share, seed=0)


def test_the_seed_decides_which():
    assert draw_replay(OWN, OTHER, 0.1, seed=0) != draw_replay(OWN, OTHER, 0.1, seed=1)


def test_too_few_others_are_all_taken():
    assert sorted(draw_replay([1], [2, 3], 0.9, seed=1)) == [2, 3]
