"""The stage as a whole: what is written, what is reused, what is refused."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.store.records import read_records
from tests.labelling.classify_parts import (
    RULES,
    ask,
    labels_of,
    read_lines,
    requests_to,
    run_classify,
    running_server,
    write_questions,
    write_rows,
)


def test_files_hold_what_the_design_says(tmp_path, corpus):
    outcome = run_classify(tmp_path / "run", corpus)
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
        assert tuple(record.votes) == RULES
        assert record.agreement == pytest.approx(cast.count(record.label) / 3, abs=1e-6)
        assert record.extra["source_label"] in ("system1", "system2")


def test_the_source_label_is_not_used_for_voting(tmp_path):
    rows = training_records(per_system=20)
    results = []
    for turn, flip in enumerate((False, True)):
        other = {"system1": "system2", "system2": "system1"}
        kept = [row | {"label": other[row["label"]]} if flip else row for row in rows]
        data = write_rows(tmp_path / f"{turn}.jsonl", kept)
        outcome = run_classify(tmp_path / f"run{turn}", data)
        results.append((labels_of(outcome.folder), outcome.manifest.metrics["accuracy"]["vote"]))
    assert results[0][0] == results[1][0]
    assert results[0][1] == pytest.approx(1 - results[1][1])


def test_equal_runs_are_up_to_date_and_changed_ones_replace_the_result(tmp_path, corpus):
    first = run_classify(tmp_path / "run", corpus)
    assert first.fresh
    assert not run_classify(tmp_path / "run", corpus).fresh
    limited = run_classify(tmp_path / "run", corpus, limit=50)
    assert limited.fresh
    assert limited.manifest.counts["records"] == 50
    # The journal went along: nothing that stands in it is asked again.
    assert all(row["asked"] == 0 for row in limited.manifest.counts["teachers"].values())
    assert len(read_lines(limited.folder / "votes.jsonl")) == 600
    corpus.write_text(corpus.read_text() + '{"question": "new?", "answer": "#### 1"}\n')
    grown = run_classify(tmp_path / "run", corpus)
    assert all(row["asked"] == 1 for row in grown.manifest.counts["teachers"].values())


def test_results_are_the_same_byte_for_byte(tmp_path, corpus):
    first = run_classify(tmp_path / "run", corpus).folder
    again = run_classify(tmp_path / "again", corpus).folder
    for name in ("labels", "system1", "system2", "heldout", "disagreements"):
        assert (first / f"{name}.jsonl").read_bytes() == (again / f"{name}.jsonl").read_bytes()


def test_an_earlier_result_survives_a_failed_run(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 30)
    with running_server() as server:
        good = ask(tmp_path / "run", data, server, "a")
        before = (good.folder / "labels.jsonl").read_bytes()
    with running_server(dead_after={"model-b": 5}) as server, pytest.raises(LoraparError):
        ask(tmp_path / "run", data, server, "ab", retries=1)
    assert (good.folder / "labels.jsonl").read_bytes() == before
    # Answers of the failed run are in the journal all the same.
    assert len(read_lines(good.folder / "votes.jsonl")) == 35


def test_only_what_an_answer_depends_on_asks_again(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    run_dir = tmp_path / "run"
    with running_server() as server, running_server() as moved:
        ask(run_dir, data, server, "a")
        assert requests_to(server) == 20
        unchanged = {
            "on_tie": "system1",
            "seed": 5,
            "holdout": 0.2,
            "limit": 10,
        }
        for name, value in unchanged.items():
            ask(run_dir, data, server, "a", **{name: value})
        lines = data.read_text(encoding="utf-8").splitlines()
        data.write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")
        ask(run_dir, data, server, "a")
        ask(run_dir, data, moved, "a")
        renamed = f"other=model-a@{server.url}"
        run_classify(run_dir, data, [renamed])
        assert (requests_to(server), requests_to(moved)) == (20, 0)
        ask(run_dir, data, server, "a", student="LLaMA2 7B")
        assert requests_to(server) == 40
        ask(run_dir, data, server, "a", role_play=False)
        assert requests_to(server) == 60
        ask(run_dir, data, server, "b")
        assert requests_to(server) == 80
        data.write_text("\n".join([lines[0].replace("\\n#### ", "\\n#### 1"), *lines[1:]]))
        ask(run_dir, data, server, "a", limit=2)
        assert requests_to(server) == 81


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": ["rules-cue"]}, "did you mean `rules-cues`"),
        ({"prompt_field": "question"}, "`--completion-field`"),
    ],
)
def test_wrong_options_write_nothing(tmp_path, corpus, options, message):
    with pytest.raises(UsageError) as error:
        run_classify(tmp_path / "run", corpus, **options)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_broken_line_writes_nothing(tmp_path, corpus):
    corpus.write_text(corpus.read_text() + "{broken\n")
    with pytest.raises(LoraparError, match=r"corpus.jsonl:201"):
        run_classify(tmp_path / "run", corpus)
    assert not (tmp_path / "run").exists()
    outcome = run_classify(tmp_path / "run", corpus, skip_bad=True)
    assert outcome.manifest.counts["bad_lines"] == 1
    assert any("corpus.jsonl:201" in note for note in outcome.manifest.notes)


def test_a_missing_key_is_named_before_anything_is_written(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 3)
    config = tmp_path / "mine.yaml"
    config.write_text(
        "teachers:\n  a: {base_url: 'http://127.0.0.1:9/v1', model: m, key_env: NO_SUCH_KEY}\n"
    )
    with pytest.raises(LoraparError, match="cannot be asked") as error:
        run_classify(tmp_path / "run", data, ["a"], teachers_file=config)
    assert "`a`: no key in `NO_SUCH_KEY`" in error.value.found
    assert not (tmp_path / "run").exists()


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


def test_unusual_content_reaches_the_teacher_unchanged(tmp_path):
    rows = [
        {"question": "long " * 20_000, "answer": "#### 1"},
        {"question": "🦆\r\nnext line\t{{answer}} {}", "answer": "é\u2028#### 2"},
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "日本語?"},
                {"role": "assistant", "content": "はい"},
            ]
        },
    ]
    data = write_rows(tmp_path / "data.jsonl", rows)
    with running_server() as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
        questions = "\0".join(server.stats()["billed"])
    assert len(labels_of(outcome.folder)) == 3
    for part in ("long " * 20_000, rows[1]["question"], rows[1]["answer"], "Be kind.\n日本語?"):
        assert part in questions


def test_a_full_disk_keeps_every_answer_that_was_written(tmp_path):
    """The disk is full after 4,000 bytes of journal; with room the same command goes on."""
    data = write_questions(tmp_path / "data.jsonl", 40)
    run_dir = tmp_path / "run"
    with running_server() as server:
        command = [sys.executable, "-m", "lorapar_cli", "classify", str(data)]
        command += ["--teachers", server.teacher("a"), "--run-dir", str(run_dir)]
        limit = f"trap '' XFSZ; ulimit -f 8; exec {shlex.join(command)}"
        full = subprocess.run(["bash", "-c", limit], capture_output=True, text=True)
        assert full.returncode == 1
        assert "cannot write" in full.stderr
        assert "Traceback" not in full.stderr
        kept = read_lines(run_dir / "classify" / "votes.jsonl")
        assert 5 < len(kept) < 40
        assert subprocess.run(command, capture_output=True).returncode == 0
        assert len(server.stats()["billed"]) == 40
        repeated = sum(server.stats()["billed"].values()) - 40
    # What was in flight when the disk was full is asked again, nothing else.
    assert repeated <= 16 + 16


def test_a_full_disk_under_the_scratch_database_keeps_every_answer(tmp_path):
    """Files may have 512 KiB each: the journal fits, what is kept of 10,000 records does not."""
    rows = [{"id": f"{i:0200}", "question": f"{i}?", "answer": f"#### {i}"} for i in range(10_000)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:10]))
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "lorapar_cli", "classify", str(data)]
    command += ["--teachers", "rules-cues", "--run-dir", str(run_dir)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    journal = (run_dir / "classify" / "votes.jsonl").read_bytes()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limit = f"trap '' XFSZ; ulimit -f 512; exec {shlex.join(command)}"
    full = subprocess.run(["bash", "-c", limit], capture_output=True, text=True)
    assert full.returncode == 1
    assert "cannot write a temporary file" in full.stderr
    assert "Traceback" not in full.stderr
    assert (run_dir / "classify" / "votes.jsonl").read_bytes().startswith(journal)
    assert [path.name for path in run_dir.iterdir()] == ["classify"]
    assert subprocess.run(command, capture_output=True).returncode == 0
