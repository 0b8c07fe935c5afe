"""Random labels and reviews."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from tests.labelling.classify_parts import RULES, labels_of, read_lines, run_classify


def test_random_labels_have_the_exact_share_and_no_votes(tmp_path, corpus):
    outcome = run_classify(tmp_path / "run", corpus, (), strategy="random", share=0.3, holdout=0.0)
    labels = labels_of(outcome.folder)
    assert list(labels.values()).count("system2") == 60
    assert all(line["votes"] == {} for line in read_lines(outcome.folder / "labels.jsonl"))
    options = {"strategy": "random", "share": 0.3, "holdout": 0.0, "economy": True}
    again = run_classify(tmp_path / "again", corpus, (), **options)
    assert labels_of(again.folder) == labels


def test_a_review_overrides_labels_and_is_marked(tmp_path, corpus):
    first = run_classify(tmp_path / "run", corpus, holdout=0.0)
    contested = read_lines(first.folder / "disagreements.jsonl")
    assert contested
    assert first.manifest.counts["contested"] == len(contested)
    assert all(set(line["words"]) == set(RULES) for line in contested)
    corrected = contested[0]["id"]
    flipped = "system1" if contested[0]["label"] == "system2" else "system2"
    review = tmp_path / "review.jsonl"
    review.write_text(
        json.dumps(contested[0] | {"label": flipped})
        + "\n"
        + json.dumps({"id": contested[1]["id"], "label": None})
        + "\n"
    )
    before = labels_of(first.folder)
    second = run_classify(tmp_path / "run", corpus, holdout=0.0, review=review)
    changed = labels_of(second.folder).items() - before.items()
    assert changed == {(corrected, flipped)}
    marked = [r for r in read_lines(second.folder / "labels.jsonl") if r.get("reviewed")]
    assert [r["id"] for r in marked] == [corrected]
    review.write_text('{"id": "nobody", "label": "system1"}\n')
    with pytest.raises(LoraparError, match="ids that are not in the data"):
        run_classify(tmp_path / "run", corpus, review=review)
    review.write_text('{"id": "x", "label": "system3"}\n')
    with pytest.raises(LoraparError, match=r"review.jsonl:1"):
        run_classify(tmp_path / "run", corpus, review=review)
