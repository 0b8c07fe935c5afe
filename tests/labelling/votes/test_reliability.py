import numpy as np
import pytest

from lorapar_cli.labelling.votes import reliability


def once(votes):
    return np.ones(len(votes), np.int64)


def naive_alpha(votes):
    """Krippendorff's alpha by its coincidence matrix, written out."""
    coincidences = {(a, b): 0.0 for a in (1, 2) for b in (1, 2)}
    for row in votes:
        cast = [code for code in row if code in (1, 2)]
        if len(cast) < 2:
            continue
        for i, a in enumerate(cast):
            for j, b in enumerate(cast):
                if i != j:
                    coincidences[a, b] += 1 / (len(cast) - 1)
    total = sum(coincidences.values())
    sizes = {a: coincidences[a, 1] + coincidences[a, 2] for a in (1, 2)}
    observed = coincidences[1, 2] + coincidences[2, 1]
    expected = 2 * sizes[1] * sizes[2] / (total - 1)
    return 1 - observed / expected


def test_alpha_equals_the_coincidence_matrix_and_a_published_value():
    draw = np.random.default_rng(0)
    votes = draw.choice([0, 1, 2, 3], size=(200, 4), p=[0.1, 0.3, 0.5, 0.1]).astype(np.uint8)
    assert reliability.krippendorff_alpha(votes, once(votes)) == pytest.approx(
        naive_alpha(votes), abs=1e-12
    )
    # Krippendorff (2011), section B: two observers, ten units, binary data; alpha = 0.095.
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    two = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    published = np.array([one, two], dtype=np.uint8).T + 1
    assert reliability.krippendorff_alpha(published, once(published)) == pytest.approx(
        0.095, abs=5e-4
    )


def test_alpha_is_one_for_agreement_and_undefined_without_variation():
    for rows, expected in (
        ([[1, 1], [2, 2]], 1),
        ([[2, 2], [2, 2]], None),
        ([[1, 3], [0, 2]], None),
    ):
        votes = np.array(rows, np.uint8)
        assert reliability.krippendorff_alpha(votes, once(votes)) == expected


def test_pairwise_agreement_counts_records_with_both_votes():
    votes = np.array([[1, 1, 3], [1, 2, 3], [2, 2, 3], [0, 1, 3]], np.uint8)
    pairs = reliability.pairwise_agreement(votes, once(votes))
    assert pairs[0, 1] == pairs[1, 0] == pytest.approx(2 / 3)
    assert pairs[0, 0] == 1
    assert np.isnan(pairs[0, 2])


def made_up_votes(hits, share=0.4, records=4000, missing=0.1, seed=1):
    """Votes of teachers with known reliabilities, and the truth behind them."""
    draw = np.random.default_rng(seed)
    truth = (draw.random(records) < share).astype(np.uint8) + 1
    votes = np.empty((records, len(hits)), np.uint8)
    for column, pair in enumerate(hits):
        right = draw.random(records) < np.asarray(pair)[truth - 1]
        votes[:, column] = np.where(right, truth, 3 - truth)
    votes[draw.random(votes.shape) < missing] = 3
    return votes, truth


def test_dawid_skene_finds_the_reliabilities_and_beats_the_majority():
    hits = [(0.95, 0.9), (0.6, 0.65), (0.55, 0.6), (0.65, 0.55), (0.9, 0.97)]
    votes, truth = made_up_votes(hits)
    estimate = reliability.dawid_skene(votes, once(votes))
    assert estimate.hits == pytest.approx(np.array(hits), abs=0.05)
    assert estimate.share == pytest.approx(0.4, abs=0.03)
    from lorapar_cli.labelling.votes.voting import majority

    by_majority = (majority(votes) == truth).mean()
    by_weight = (estimate.labels == truth).mean()
    assert by_weight > by_majority + 0.05
    assert ((estimate.second > 0.5) == (estimate.labels == 2)).all()


def test_dawid_skene_equals_a_naive_restatement():
    votes, _ = made_up_votes([(0.9, 0.8), (0.7, 0.75), (0.6, 0.9)], records=60)
    second = np.array(
        [(row == 2).sum() / max(1, ((row == 1) | (row == 2)).sum()) for row in votes], float
    )
    second[[not ((row == 1) | (row == 2)).any() for row in votes]] = 0.5
    voted = ((votes == 1) | (votes == 2)).any(axis=1)
    for _ in range(200):
        share = (sum(second[voted]) + 0.5) / (voted.sum() + 1)
        hit = np.zeros((3, 2))
        for t in range(3):
            for k, weight in ((1, 1 - second), (2, second)):
                right = sum(
                    w for w, row, v in zip(weight, votes, voted, strict=True) if v and row[t] == k
                )
                wrong = sum(
                    w
                    for w, row, v in zip(weight, votes, voted, strict=True)
                    if v and row[t] == 3 - k
                )
                hit[t, k - 1] = (right + 0.5) / (right + wrong + 1)
        new = []
        for row in votes:
            p = {1: 1 - share, 2: share}
            for t in range(3):
                if row[t] in (1, 2):
                    for k in (1, 2):
                        p[k] *= hit[t, k - 1] if row[t] == k else 1 - hit[t, k - 1]
            new.append(p[2] / (p[1] + p[2]))
        second = np.array(new)
    estimate = reliability.dawid_skene(votes, once(votes))
    assert estimate.second[voted] == pytest.approx(second[voted], abs=1e-6)
    assert (estimate.second[~voted] == 0.5).all()
    assert (estimate.labels[~voted] == 0).all()


def test_rows_that_are_given_once_with_their_counts_say_the_same():
    votes, _ = made_up_votes([(0.9, 0.8), (0.7, 0.75), (0.6, 0.9)], records=3000)
    rows, place, counts = np.unique(votes, axis=0, return_inverse=True, return_counts=True)
    assert len(rows) < 40
    assert reliability.krippendorff_alpha(rows, counts) == pytest.approx(
        reliability.krippendorff_alpha(votes, once(votes)), abs=1e-12
    )
    assert reliability.pairwise_agreement(rows, counts) == pytest.approx(
        reliability.pairwise_agreement(votes, once(votes)), abs=1e-12
    )
    few, many = reliability.dawid_skene(rows, counts), reliability.dawid_skene(votes, once(votes))
    assert few.hits == pytest.approx(many.hits, abs=1e-9)
    assert (few.labels[place] == many.labels).all()
