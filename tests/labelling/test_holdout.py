"""Which records are held out."""

from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.labelling.holdout import choose_held_out, held_out_count, share_count
from tests.labelling.classify_parts import read_lines, run_classify, write_rows


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


def test_counts():
    assert held_out_count(7473, 0.05, 500) == 374
    assert held_out_count(100_000, 0.05, 500) == 500
    assert held_out_count(10, 0.0, 500) == 0
    assert held_out_count(1, 0.9, 500) == 0
    assert [share_count(1001, share) for share in (0.0, 0.3, 1.0)] == [0, 300, 1001]


def test_held_out_records_depend_on_ids_and_seed_only(tmp_path, corpus):
    lines = corpus.read_text(encoding="utf-8").splitlines()
    (tmp_path / "back.jsonl").write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")

    def held(run_dir, data, **options):
        outcome = run_classify(tmp_path / run_dir, data, **options)
        return {line["id"] for line in read_lines(outcome.folder / "heldout.jsonl")}

    first = held("a", corpus)
    assert held("b", tmp_path / "back.jsonl") == first
    assert held("c", corpus, seed=1) != first
    assert held("d", corpus, holdout=0.0) == set()


def test_a_question_that_stands_twice_is_never_both_trained_on_and_held_out(tmp_path):
    rows = [{"question": f"{i % 50}?", "answer": f"#### {i}"} for i in range(200)]
    data = write_rows(tmp_path / "data.jsonl", rows)
    outcome = run_classify(tmp_path / "run", data, holdout=0.3)
    held = {line["prompt"] for line in read_lines(outcome.folder / "heldout.jsonl")}
    trained = {line["prompt"] for line in read_lines(outcome.folder / "labels.jsonl")}
    assert outcome.manifest.counts["heldout"] == 60
    assert not held & trained
