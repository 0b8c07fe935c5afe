"""The command `classify` as it is typed."""

import json
import os

import pytest

from tests.cli.command_line import lorapar

QUICK = [{"question": f"What is {i} + {i}?", "answer": f"#### {2 * i}"} for i in range(10)]
STEPS = [
    {
        "question": f"Ann has {i} boxes with {i} pears each and eats 3 pears. How many are left?",
        "answer": f"{i}*{i}={i * i}. {i * i}-3={i * i - 3}.\n#### {i * i - 3}",
    }
    for i in range(10, 20)
]
ROWS = [*QUICK, *STEPS]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def test_the_summary_names_teachers_and_the_next_command(folder):
    teachers = "rules-operations,rules-cues,rules-shape"
    done = lorapar(folder, "classify", "data.jsonl", "--teachers", teachers)
    assert done.returncode == 0, done.stderr
    for word in ("system1", "held out", "rules-shape"):
        assert word in done.stdout
    assert "next: `lorapar score`" in done.stderr
    again = lorapar(folder, "classify", "data.jsonl", "--teachers", teachers)
    assert "up to date" in again.stderr
    assert again.stdout == done.stdout


def test_records_of_one_system_alone_name_no_command_that_would_fail(folder):
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in STEPS))
    done = lorapar(folder, "classify", "data.jsonl", "--teachers", "rules-operations")
    assert done.returncode == 0, done.stderr
    assert "note: no record is system1, and the following stages need both" in done.stderr
    assert "next:" not in done.stderr


def test_a_dry_run_shows_questions_tokens_money_and_a_prompt(folder):
    arguments = ["classify", "data.jsonl", "--teachers", "gpt4o,r1,rules-cues", "--dry-run"]
    done = lorapar(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert "2026-05" in done.stdout
    assert "You are a small language model. You are not a better model" in done.stdout
    assert "unknown" in done.stdout
    assert "What is 0 + 0?" in done.stdout
    assert "no price is known for r1" in done.stderr
    assert sorted(os.listdir(folder)) == ["data.jsonl"]
    plan = json.loads(lorapar(folder, *arguments, "--json").stdout)
    assert plan["rows"]["gpt4o"]["questions"] == 20
    assert plan["rows"]["r1"]["cost"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data.jsonl", "--teachers", "rules-cue"], 2, "did you mean `rules-cues`"),
        (["data.jsonl"], 2, "no teachers"),
        (["data.jsonl", "--teachers", "rules-cues", "--holdout", "1.5"], 2, "--holdout"),
        (["data.jsonl", "--teachers", "rules-cues", "--on-tie", "system3"], 2, "system3"),
        (["data.jsonl", "--teachers", "gpt4o"], 1, "no key in `OPENAI_API_KEY`"),
        (["nothing.jsonl", "--teachers", "rules-cues"], 1, "no such data file"),
        (["data.jsonl", "--teachers", "hf:nowhere"], 1, "cannot load base model `nowhere`"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(folder, arguments, code, message):
    done = lorapar(folder, "classify", *arguments, HF_HUB_OFFLINE="1")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(folder)) == ["data.jsonl"]


def test_data_may_be_several_files_patterns_and_a_pipe(folder):
    for name, number in (("a-1.jsonl", 100), ("a-2.jsonl", 101)):
        row = {"question": f"What is {number}?", "answer": f"#### {number}"}
        (folder / name).write_text(json.dumps(row) + "\n")
    last = json.dumps({"question": "What is 102?", "answer": "#### 102"}) + "\n"
    arguments = ["--teachers", "rules-cues", "--holdout", "0", "--json"]
    done = lorapar(folder, "classify", "a-*.jsonl", "-", "data.jsonl", *arguments, stdin=last)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    # Inputs outside the run directory are recorded by their absolute paths.
    assert {name: each["path"] for name, each in manifest["inputs"].items()} == {
        "data": str(folder / "a-1.jsonl"),
        "data-2": str(folder / "a-2.jsonl"),
        "data-3": "-",
        "data-4": str(folder / "data.jsonl"),
    }
    assert manifest["counts"]["records"] == 23
    (folder / "run.yaml").write_text(
        "model: embedded\nclassify: {data: [a-1.jsonl, data.jsonl], teachers: [rules-cues], "
        "dry_run: true}\n"
    )
    assert "21" in lorapar(folder, "run", "run.yaml").stdout


def test_a_run_configuration_may_define_its_own_teachers(folder):
    (folder / "run.yaml").write_text(
        "model: embedded\n"
        "teachers:\n  mine: {base_url: 'http://127.0.0.1:9/v1', model: m, key_env: NO_SUCH_KEY}\n"
        "classify: {data: data.jsonl, teachers: [mine, rules-cues]}\n"
    )
    assert lorapar(folder, "run", "run.yaml", "--dry-run").returncode == 0
    dry = (folder / "run.yaml").read_text().replace("data.jsonl,", "data.jsonl, dry_run: true,")
    (folder / "dry.yaml").write_text(dry)
    planned = lorapar(folder, "run", "dry.yaml", NO_SUCH_KEY="")
    assert planned.returncode == 0
    assert "nothing was asked or written" in planned.stderr
    done = lorapar(folder, "run", "run.yaml", NO_SUCH_KEY="")
    assert done.returncode == 1
    assert "`mine`: no key in `NO_SUCH_KEY`" in done.stderr
