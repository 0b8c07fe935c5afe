"""Classify with offline teachers: what is written, what is decided, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.classify import classify
from lorapar_cli.store.records import read_records
from lorapar_cli.store.run_dir import RunDir
from tests.labelling.classify_parts import labels_of, read_lines, write_questions

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
RULES = ["rules-operations", "rules-cues", "rules-shape"]


def write_corpus(path, per_system=100):
    rows = training_records(per_system=per_system)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(tmp_path, data, **options):
    options = {"teachers": RULES} | options
    return classify(RunDir(tmp_path / "run"), data=str(data), **options)


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.jsonl")


def test_files_hold_what_the_design_says(tmp_path, corpus):
    outcome = run(tmp_path, corpus)
    folder = outcome.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        *("disagreements.jsonl", "heldout.jsonl", "labels.jsonl", "manifest.json"),
        *("system1.jsonl", "system2.jsonl", "votes.jsonl"),
    ]
    labels = (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    one = (folder / "system1.jsonl").read_text(encoding="utf-8").splitlines()
    two = (folder / "system2.jsonl").read_text(encoding="utf-8").splitlines()
    assert one == [line for line in labels if json.loads(line)["label"] == "system1"]
    assert two == [line for line in labels if json.loads(line)["label"] == "system2"]
    source = [row["id"] for row in training_records(per_system=100)]
    written = [json.loads(line)["id"] for line in labels]
    held = [record.id for record in read_records(folder / "heldout.jsonl")]
    assert written == [name for name in source if name not in held]
    assert len(held) == 10
    assert "votes.jsonl" not in outcome.manifest.outputs
    for record in read_records(folder / "labels.jsonl"):
        cast = list(record.votes.values())
        assert list(record.votes) == RULES
        assert record.agreement == pytest.approx(cast.count(record.label) / 3, abs=1e-6)
        assert record.extra["source_label"] in ("system1", "system2")


def test_accuracy_on_the_embedded_corpus_stands_in_the_docs(tmp_path):
    """The summary's numbers equal counting by hand, and docs/benchmarks.md states them."""
    data = write_corpus(tmp_path / "corpus.jsonl", per_system=2000)
    outcome = run(tmp_path, data)
    accuracy = outcome.manifest.metrics["accuracy"]
    hits = dict.fromkeys([*RULES, "vote"], 0)
    for name in ("labels.jsonl", "heldout.jsonl"):
        for record in read_records(outcome.folder / name):
            truth = record.extra["source_label"]
            hits["vote"] += record.label == truth
            for rule in RULES:
                hits[rule] += record.votes[rule] == truth
    assert accuracy == {name: count / 4000 for name, count in hits.items()} | {"records": 4000}
    text = DOCS.read_text(encoding="utf-8")
    for name in hits:
        row = f"| {name} | {accuracy[name]:.3f} |"
        assert row in text, f"docs/benchmarks.md should have the row: {row}"
    assert accuracy["vote"] > 0.9


def test_the_source_label_is_not_used_for_voting(tmp_path):
    rows = training_records(per_system=20)
    results = []
    for turn, flip in enumerate((False, True)):
        data = tmp_path / f"{turn}.jsonl"
        other = {"system1": "system2", "system2": "system1"}
        kept = [row | {"label": other[row["label"]]} if flip else row for row in rows]
        data.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        outcome = classify(RunDir(tmp_path / f"run{turn}"), data=str(data), teachers=RULES)
        results.append((labels_of(outcome.folder), outcome.manifest.metrics["accuracy"]["vote"]))
    assert results[0][0] == results[1][0]
    assert results[0][1] == pytest.approx(1 - results[1][1])


def test_held_out_records_depend_on_ids_and_seed_only(tmp_path, corpus):
    lines = corpus.read_text(encoding="utf-8").splitlines()
    (tmp_path / "back.jsonl").write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")

    def held(run_dir, data, **options):
        outcome = classify(RunDir(tmp_path / run_dir), data=str(data), teachers=RULES, **options)
        return {line["id"] for line in read_lines(outcome.folder / "heldout.jsonl")}

    first = held("a", corpus)
    assert held("b", tmp_path / "back.jsonl") == first
    assert held("c", corpus, seed=1) != first
    assert held("d", corpus, holdout=0.0) == set()


def test_a_question_that_stands_twice_is_never_both_trained_on_and_held_out(tmp_path):
    rows = [{"question": f"{i % 50}?", "answer": f"#### {i}"} for i in range(200)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    outcome = run(tmp_path, data, holdout=0.3)
    held = {line["prompt"] for line in read_lines(outcome.folder / "heldout.jsonl")}
    trained = {line["prompt"] for line in read_lines(outcome.folder / "labels.jsonl")}
    assert outcome.manifest.counts["heldout"] == 60
    assert not held & trained


def test_repeated_ids_do_not_merge_records(tmp_path):
    rows = [
        {"id": "a", "question": "What is 1 + 1?", "answer": "#### 2"},
        {"id": "a#2", "question": "What is 2 + 1?", "answer": "#### 3"},
        {"id": "a", "question": "What is 3 + 1?", "answer": "#### 4"},
        {"id": "a", "question": "What is 1 + 1?", "answer": "#### 2"},
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    outcome = run(tmp_path, data, holdout=0.0)
    lines = read_lines(outcome.folder / "labels.jsonl")
    assert [line["id"] for line in lines] == ["a", "a#2", "a#3", "a#4"]
    assert [line["reference_answer"] for line in lines] == ["2", "3", "4", "2"]
    assert outcome.manifest.counts["repeated_ids"] == 2
    assert outcome.manifest.counts["repeated_records"] == 1
    # The fourth record is the first one again: it is not asked about a second time.
    assert len(read_lines(outcome.folder / "votes.jsonl")) == 9


@pytest.mark.parametrize("on_tie", ["system1", "system2", "drop"])
def test_ties_are_broken_counted_and_never_lost(tmp_path, corpus, on_tie):
    outcome = run(tmp_path, corpus, teachers=RULES[1:], on_tie=on_tie, holdout=0.0)
    counts = outcome.manifest.counts
    lines = read_lines(outcome.folder / "labels.jsonl")
    dropped = outcome.folder / "dropped.jsonl"
    tied = [line for line in lines if len(set(line["votes"].values())) == 2]
    if on_tie == "drop":
        assert not tied
        tied = read_lines(dropped)
        assert {line["dropped"] for line in tied} == {"no majority"}
        assert {line["label"] for line in tied} == {None}
        assert len(lines) + len(tied) == counts["records"]
    else:
        assert {line["label"] for line in tied} == {on_tie}
        assert not dropped.exists()
    assert counts["undecided"] == len(tied) > 0
    assert {line["agreement"] for line in tied} == {0.5}
    assert any(f"{len(tied)} records without a majority" in n for n in outcome.manifest.notes)


def test_on_tie_error_names_records_and_writes_no_result(tmp_path, corpus):
    with pytest.raises(LoraparError, match="records have no majority") as error:
        run(tmp_path, corpus, teachers=RULES[1:], on_tie="error")
    assert "train-" in error.value.found
    assert not (tmp_path / "run" / "classify" / "manifest.json").exists()


def test_records_that_teach_nothing_are_dropped_and_kept_in_a_file(tmp_path):
    rows = [
        {"instruction": "Say a.", "input": "", "output": "a"},
        {"instruction": "Say nothing.", "input": "", "output": ""},
        {"instruction": "", "input": " ", "output": "b"},
    ]
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    outcome = run(tmp_path, data)
    dropped = read_lines(outcome.folder / "dropped.jsonl")
    assert [line["dropped"] for line in dropped] == ["empty completion", "empty prompt"]
    assert outcome.manifest.counts["empty"] == outcome.manifest.counts["dropped"] == 2


def test_random_labels_have_the_exact_share_and_no_votes(tmp_path, corpus):
    outcome = run(tmp_path, corpus, teachers=[], strategy="random", share=0.3, holdout=0.0)
    labels = labels_of(outcome.folder)
    assert list(labels.values()).count("system2") == 60
    assert all(line["votes"] == {} for line in read_lines(outcome.folder / "labels.jsonl"))
    again = classify(
        RunDir(tmp_path / "again"),
        data=str(corpus),
        teachers=[],
        strategy="random",
        share=0.3,
        holdout=0.0,
        economy=True,
    )
    assert labels_of(again.folder) == labels


def test_weighted_votes_follow_the_reliable_teacher(tmp_path):
    data = write_corpus(tmp_path / "corpus.jsonl", per_system=500)
    outcome = run(tmp_path, data, vote="weighted", holdout=0.0)
    reliability = outcome.manifest.metrics["reliability"]
    assert set(reliability) == set(RULES)
    assert all(0 < value < 1 for hits in reliability.values() for value in hits.values())
    assert outcome.manifest.metrics["accuracy"]["vote"] > 0.9


def test_a_review_overrides_labels_and_is_marked(tmp_path, corpus):
    first = run(tmp_path, corpus, holdout=0.0)
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
    second = run(tmp_path, corpus, holdout=0.0, review=review)
    changed = labels_of(second.folder).items() - before.items()
    assert changed == {(corrected, flipped)}
    marked = [r for r in read_lines(second.folder / "labels.jsonl") if r.get("reviewed")]
    assert [r["id"] for r in marked] == [corrected]
    review.write_text('{"id": "nobody", "label": "system1"}\n')
    with pytest.raises(LoraparError, match="ids that are not in the data"):
        run(tmp_path, corpus, review=review)
    review.write_text('{"id": "x", "label": "system3"}\n')
    with pytest.raises(LoraparError, match=r"review.jsonl:1"):
        run(tmp_path, corpus, review=review)


def test_equal_runs_are_up_to_date_and_changed_ones_replace_the_result(tmp_path, corpus):
    first = run(tmp_path, corpus)
    assert first.fresh
    assert not run(tmp_path, corpus).fresh
    limited = run(tmp_path, corpus, limit=50)
    assert limited.fresh
    assert limited.manifest.counts["records"] == 50
    # The journal went along: nothing that stands in it is asked again.
    assert all(row["asked"] == 0 for row in limited.manifest.counts["teachers"].values())
    assert len(read_lines(limited.folder / "votes.jsonl")) == 600
    corpus.write_text(corpus.read_text() + '{"question": "new?", "answer": "#### 1"}\n')
    grown = run(tmp_path, corpus)
    assert all(row["asked"] == 1 for row in grown.manifest.counts["teachers"].values())


def test_results_are_the_same_byte_for_byte(tmp_path, corpus):
    first = run(tmp_path, corpus).folder
    again = classify(RunDir(tmp_path / "again"), data=str(corpus), teachers=RULES).folder
    for name in ("labels", "system1", "system2", "heldout", "disagreements"):
        assert (first / f"{name}.jsonl").read_bytes() == (again / f"{name}.jsonl").read_bytes()


def test_a_torn_or_damaged_journal_loses_only_the_lines_concerned(tmp_path, corpus):
    folder = run(tmp_path, corpus).folder
    lines = (folder / "votes.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = b"\0\0 damaged\n"
    (folder / "votes.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    outcome = run(tmp_path, corpus, limit=200)
    counts = outcome.manifest.counts["teachers"].values()
    assert sum(row["asked"] for row in counts) == 2
    assert "1 damaged lines of the journal were passed over" in outcome.manifest.notes
    json.loads((folder / "votes.jsonl").read_bytes().splitlines()[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": ["rules-cue"]}, "did you mean `rules-cues`"),
        ({"teachers": []}, "no teachers"),
        ({"strategy": "random"}, "asks no teachers"),
        ({"teachers": RULES[:2], "vote": "weighted"}, "at least three"),
        ({"vote": "weighted", "economy": True}, "--economy"),
        ({"min_votes": 4}, "more than the 3 teachers"),
        ({"format": "alpca"}, "did you mean `alpaca`"),
    ],
)
def test_wrong_options_write_nothing(tmp_path, corpus, options, message):
    with pytest.raises(UsageError) as error:
        run(tmp_path, corpus, **options)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_broken_line_writes_nothing(tmp_path, corpus):
    corpus.write_text(corpus.read_text() + "{broken\n")
    with pytest.raises(LoraparError, match=r"corpus.jsonl:201"):
        run(tmp_path, corpus)
    assert not (tmp_path / "run").exists()
    outcome = run(tmp_path, corpus, skip_bad=True)
    assert outcome.manifest.counts["bad_lines"] == 1
    assert any("corpus.jsonl:201" in note for note in outcome.manifest.notes)


def test_the_model_is_remembered_and_given_once(tmp_path, corpus, tiny_model_dir, monkeypatch):
    monkeypatch.chdir(tiny_model_dir.parent)
    first = run(tmp_path, corpus, model=f"./{tiny_model_dir.name}")
    assert first.manifest.base_model["id"] == str(tiny_model_dir)
    assert first.manifest.base_model["revision"].startswith("local:")
    assert not run(tmp_path, corpus).fresh
    again = run(tmp_path, corpus, limit=20)
    assert again.manifest.base_model == first.manifest.base_model
    assert RunDir(tmp_path / "run").base_model() == str(tiny_model_dir)


def test_the_command_needs_no_torch_and_prints_a_manifest(tmp_path, corpus):
    program = (
        "import sys; from lorapar_cli.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    arguments = ["classify", str(corpus), "--teachers", ",".join(RULES), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--run-dir", str(tmp_path / "cli")],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["records"] == 200


def test_data_that_changes_while_it_is_read_is_an_error(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 40)
    lines = data.read_text(encoding="utf-8").splitlines()

    def progress(event):
        if event.task == "reading" and event.total is not None:
            data.write_text("\n".join(lines[:20]) + "\n", encoding="utf-8")

    with pytest.raises(LoraparError, match="changed while it was read"):
        run(tmp_path, data, progress=progress)
