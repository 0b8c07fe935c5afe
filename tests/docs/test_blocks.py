"""Every command block of README and documentation is run on the embedded model, or says why not.

The blocks of a page are run in one folder, in order, where a finished run of the embedded model is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorapar_cli.cli.main import main
from lorapar_cli.data.readers import open_source
from lorapar_cli.embedded.corpus import training_records
from tests.docs.blocks import (
    PAGES,
    ROOT,
    Line,
    arguments_of,
    blocks,
    command_lines,
    fits,
    is_command_of_ours,
    lines_of,
    reason_not_to_run,
    rules,
)

STAGES = ("classify", "score", "partition", "train-sft", "train-rl", "eval")
RUN = [line for line in command_lines() if reason_not_to_run(line) is None]


def run(words, capsys) -> str:
    """Runs a command; `lorapar` in this process, so that libraries are imported once."""
    if words[0] == "lorapar":
        with pytest.raises(SystemExit) as ended:
            main(words[1:])
        output = capsys.readouterr()
        shown = output.out + output.err
        assert ended.value.code == 0, f"{' '.join(words)}\n{shown}"
        return shown
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *words[1:]], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
    return done.stdout


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the README's six lines were typed, and what other pages presuppose."""
    folder = tmp_path_factory.mktemp("finished")
    corpus = training_records(per_system=60)
    write_rows(folder / "data.jsonl", corpus)
    write_rows(folder / "gsm8k" / "train.jsonl", corpus)
    published = (ROOT / "lorapar_cli" / "embedded" / "data" / "test.jsonl").read_text()
    test = [json.loads(line) for line in published.splitlines()[:24]]
    write_rows(folder / "mine.jsonl", [row | {"id": f"q{n}"} for n, row in enumerate(test)])
    write_rows(folder / "gsm8k" / "test.jsonl", test)
    return folder


@pytest.fixture
def place(finished, tmp_path, monkeypatch, capsys):
    """The current folder: a copy of the finished one, of whose run other names are copies."""
    monkeypatch.delenv("LORAPAR_RUN_DIR", raising=False)
    monkeypatch.setattr("webbrowser.open", lambda *_, **__: True)
    if not (finished / "lorapar-run").is_dir():
        monkeypatch.chdir(finished)
        (block,) = [text for text in blocks(ROOT / "README.md", {""}) if "lorapar score" in text]
        lines = [Line("README.md", line) for line in lines_of(block)]
        assert [line.text.split()[1] for line in lines] == [*STAGES]
        for line in lines:
            run(arguments_of(line), capsys)
        made = finished / "lorapar-run"
        shutil.copytree(made / "train-sft" / "adapter", finished / "path" / "to" / "adapter")
        shutil.copytree(made / "eval" / "heldout", made / "eval" / "gsm8k")
        for name in ("run-a", "run-b", "run-c"):
            shutil.copytree(made, finished / name)
    folder = tmp_path / "place"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


def copy_configurations(folder) -> None:
    """Copies sample_configs/, with the embedded model in the place of others."""
    shutil.copytree(ROOT / "sample_configs", folder / "sample_configs")
    for path in (folder / "sample_configs").rglob("*.yaml"):
        text = re.sub(r"^model: .*", "model: embedded", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)


@pytest.mark.parametrize("page", list(dict.fromkeys(line.page for line in RUN)))
def test_blocks_run(page, place, capsys):
    copy_configurations(place)
    for text in blocks(ROOT / page, {"yaml"}):
        if name := re.match(r"# (\S+\.yaml)\n", text):
            (place / name[1]).write_text(text)
    for line in RUN:
        if line.page == page:
            assert is_command_of_ours(line.text), f"neither run nor in blocks.toml: {line.text}"
            run(arguments_of(line), capsys)


def python_blocks():
    return [(page, text) for page in PAGES for text in blocks(page, {"python"})]


@pytest.mark.parametrize(
    ("page", "text"),
    python_blocks(),
    ids=lambda value: value.stem if isinstance(value, Path) else value.splitlines()[0],
)
def test_blocks_of_python_run(page, text, place):
    how = rules()["python"].get(text.splitlines()[0])
    assert how, f"neither run nor in blocks.toml, in {page}: {text}"
    if how.startswith("run by"):
        path = how.removeprefix("run by ")
        assert page.relative_to(ROOT).as_posix() in (ROOT / path).read_text()
        return
    names = {}
    if "base" in how:
        from lorapar_cli.models.base_model import find_base_model, load_base

        names["base"] = load_base(find_base_model("embedded"))
    exec(compile(text, str(page), "exec"), names)
    if "rewards" in how:
        (name,) = re.findall(r"^def (\w+)", text, re.MULTILINE)
        values = names[name](["4 apples", "none"], [["4"], ["5"]])
        assert len(values) == 2
        assert values[0] != values[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_of_data_are_read(page, tmp_path):
    for text in blocks(page, {"jsonl"}):
        (tmp_path / "data.jsonl").write_text(text)
        records = list(open_source(str(tmp_path / "data.jsonl")).records())
        assert len(records) == len(text.splitlines())
        assert all(record.reference_answer for record in records)
    for text in blocks(page, {"yaml"}):
        assert isinstance(yaml.safe_load(text), dict)
    for text in blocks(page, {"json"}):
        json.loads(text)


def test_every_entry_is_of_a_line_that_is_there():
    lines = command_lines()
    for entry in rules()["not_run"]:
        for text in entry["lines"]:
            one = entry | {"lines": [text]}
            assert any(fits(one, line) for line in lines), f"no page has the line {text}"
        for path in re.findall(r"tests/[\w/.]+", entry["because"]):
            assert (ROOT / path).exists(), path
    firsts = {text.splitlines()[0] for _, text in python_blocks()}
    assert set(rules()["python"]) == firsts


def test_lines_are_read_as_a_shell_reads_them():
    text = "$ lorapar eval  # a comment\n\nlorapar score \\\n  --samples 3\n# nothing\n"
    assert lines_of(text) == ["lorapar eval", "lorapar score --samples 3"]


def test_a_line_of_another_program_must_be_listed():
    line = Line("docs/guides/new.md", "curl example.org")
    assert reason_not_to_run(line) is None
    assert not is_command_of_ours(line.text)
    listed = Line("docs/guides/install.md", "python3 -m venv env")
    assert reason_not_to_run(listed).startswith("makes an environment")
