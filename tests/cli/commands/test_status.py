"""`lorapar status`: what it says of finished, stale, unfinished and missing stages."""

import json
from pathlib import Path

import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.run_status import next_command


@pytest.fixture
def root(tmp_path):
    """A run directory with a finished, a stale, an unfinished stage, and two evaluations."""
    root = tmp_path / "run"
    source = tmp_path / "data.jsonl"
    for stage, text in ((Stage.CLASSIFY, "a"), (Stage.SCORE, "b")):
        source.write_text(text)
        folder = root / stage
        folder.mkdir(parents=True)
        counts = {"records": 12_345, "by_kind": {}, "too_long": 1}
        inputs = describe_inputs({"data": source})
        write_manifest(folder, Manifest(stage, {}, inputs=inputs, counts=counts))
    (root / Stage.TRAIN_SFT).mkdir()
    for name in ("test", "unfinished"):
        (root / Stage.EVAL / name).mkdir(parents=True)
    write_manifest(root / Stage.EVAL / "test", Manifest(Stage.EVAL, {}, counts={"items": 3}))
    return root


@pytest.fixture
def status(capfd):
    def call(*arguments) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["status", *map(str, arguments)])
        assert ended.value.code == 0
        return capfd.readouterr().out

    return call


def test_each_stage_has_its_state(root, status):
    rows = json.loads(status("--run-dir", root, "--json"))
    assert [(row["stage"], row["state"], row["what"]) for row in rows] == [
        ("classify", "stale", "input `data` has changed"),
        ("score", "done", "12,345 records, 1 too long"),
        ("partition", "missing", ""),
        ("train-sft", "unfinished", ""),
        ("train-rl", "missing", ""),
        ("eval/test", "done", "3 items"),
        ("eval/unfinished", "unfinished", ""),
    ]
    assert rows[0]["finished"] is not None
    assert rows[0]["seconds"] >= 0
    assert rows[2]["finished"] is rows[2]["seconds"] is None


def test_the_table_has_a_row_per_stage(root, status):
    out = status("--run-dir", root)
    for words in ("classify", "stale", "eval/test", "12,345 records"):
        assert words in out


def test_a_long_name_is_shown_whole_and_stays_in_its_row(root, status):
    name = "a" * 60 + "\nerror: " + "b" * 60
    (root / Stage.EVAL / name).mkdir()
    lines = status("--run-dir", root).splitlines()
    (end,) = [line.index("state") for line in lines if line.split()[:2] == ["stage", "state"]]
    cells = [line[:end].strip() for line in lines]
    assert f"eval/{'a' * 60}\\nerror: {'b' * 60}".replace(" ", "") in "".join(cells).replace(
        " ", ""
    )


def test_it_fits_80_columns_and_names_the_next_command(root, status, capfd):
    assert max(map(len, status("--run-dir", root).splitlines())) <= 80
    with pytest.raises(SystemExit):
        main(["status", "--run-dir", str(root)])
    assert (
        f"next: lorapar classify DATA --teachers a,b,c --run-dir {root}" in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({}, None),
        ({"score": "stale"}, "lorapar score --run-dir r"),
        (
            {"train-sft": "stale", "train-rl": "missing"},
            "lorapar train-sft --overwrite --run-dir r",
        ),
        ({"train-rl": "unfinished"}, "lorapar train-rl --run-dir r"),
        ({"eval/a b": "damaged"}, "lorapar eval --overwrite --run-dir r"),
    ],
)
def test_the_next_command_is_that_of_the_first_stage_that_is_not_done(states, words):
    names = ["classify", "score", "partition", "train-sft", "train-rl", "eval/a b"]
    rows = [
        {
            "stage": name,
            "state": states.get(name, "done"),
            "finished": None if states.get(name) in ("missing", "unfinished") else "2026",
            "seconds": None,
            "what": "",
        }
        for name in names
    ]
    assert next_command(RunDir(Path("r")), rows) == words
