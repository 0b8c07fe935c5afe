"""`lorapar eval` as a user types it: the tables, JSON, exit codes."""

import json

import pytest
import typer

from lorapar_cli.cli.commands import evaluate
from lorapar_cli.errors import UsageError
from lorapar_cli.store.records import write_records


@pytest.fixture
def call(tmp_path, tiny_model_dir, labelled_records, capsys):
    """Returns a function from arguments to (stdout, stderr) of the command."""
    data = tmp_path / "records.jsonl"
    write_records(data, labelled_records)
    app = typer.Typer()
    app.command()(evaluate.evaluate)

    def run(*arguments):
        fixed = ["--run-dir", str(tmp_path / "run"), "--model", str(tiny_model_dir)]
        app(
            [*fixed, "--data", str(data), "--max-new-tokens", "4", *arguments],
            standalone_mode=False,
        )
        return capsys.readouterr()

    return run


def test_table_has_a_row_a_model_and_a_column_a_system(call):
    out, err = call()
    assert "System 1" in out
    assert "System 2" in out
    assert "base" in out
    assert "0.0 [0.0, 13.8]" in out
    assert "written: " in err
    _, err = call()
    assert "up to date" in err


def test_json_is_the_manifest(call):
    out, _ = call("--json", "--limit", "6")
    manifest = json.loads(out)
    assert manifest["stage"] == "eval"
    assert manifest["counts"]["items"] == 6
    assert "limit" in manifest["given"]


def test_an_option_out_of_range_is_refused(call):
    with pytest.raises(typer.BadParameter):
        call("--batch-size", "0")
    with pytest.raises(UsageError, match="names something twice"):
        call("--adapter", "base,base")
