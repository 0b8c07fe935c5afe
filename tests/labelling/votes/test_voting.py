from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.labelling.votes import voting

CODES = (voting.UNASKED, voting.SYSTEM1, voting.SYSTEM2, voting.NO_VOTE)
ballots = st.lists(
    st.lists(st.sampled_from(CODES), min_size=4, max_size=4), min_size=1, max_size=20
)


def naive_label(row):
    ones, twos = list(row).count(1), list(row).count(2)
    return 1 if ones > twos else 2 if twos > ones else 0


@given(ballots)
def test_majority_and_agreement_equal_counting(rows):
    votes = np.array(rows, dtype=np.uint8)
    labels = voting.majority(votes)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [naive_label(row) for row in rows]
    for row, label, share in zip(rows, labels, voting.agreement(votes, labels), strict=True):
        cast = [code for code in row if code in (1, 2)]
        if not cast:
            assert np.isnan(share)
        else:
            wins = cast.count(label) if label else max(cast.count(1), cast.count(2))
            assert share == wins / len(cast)


@pytest.mark.parametrize("ties_to", [voting.SYSTEM1, voting.SYSTEM2, voting.UNDECIDED])
@pytest.mark.parametrize("teachers", [1, 2, 3, 4, 5])
def test_settled_exactly_when_no_further_votes_change_the_label(teachers, ties_to):
    def outcome(row):
        return naive_label(row) or ties_to

    for asked in range(teachers + 1):
        for said in product((1, 2, 3), repeat=asked):
            open_ = teachers - asked
            outcomes = {outcome((*said, *rest)) for rest in product((1, 2, 3), repeat=open_)}
            votes = np.array([[*said, *[0] * open_]], dtype=np.uint8)
            cannot_change = voting.cannot_change(votes, np.array([open_]), ties_to)
            # A tie that becomes neither system is only known once everybody was asked.
            expected = len(outcomes) == 1 and outcomes != {0}
            assert cannot_change.tolist() == [expected], (said, open_)
