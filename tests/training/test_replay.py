import pytest

from lorapar_cli.training.replay import mix_replay


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
def test_share_of_the_result_comes_from_the_other_system(share):
    mixed = mix_replay(list(range(700)), list(range(1000, 3000)), share, seed=0)
    replayed = [item for item in mixed if item >= 1000]
    assert mixed[:700] == list(range(700))
    assert len(replayed) / len(mixed) == pytest.approx(share, abs=1e-3)
    assert len(set(replayed)) == len(replayed)
    assert mixed == mix_replay(list(range(700)), list(range(1000, 3000)), share, seed=0)


def test_too_few_others_are_all_taken():
    assert sorted(mix_replay([1], [2, 3], 0.9, seed=1)) == [1, 2, 3]
