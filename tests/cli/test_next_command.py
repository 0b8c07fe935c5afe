"""The command that a stage names as the next one works on the same run directory."""

from pathlib import Path

import pytest

from lorapar_cli.cli.options import next_on


@pytest.mark.parametrize(
    ("run_dir", "variable", "behind"),
    [
        ("lorapar-run", None, ""),
        ("runs/a", None, " --run-dir runs/a"),
        ("my run", None, " --run-dir 'my run'"),
        ("runs/a", "runs/a", ""),
        ("runs/a", "runs/a/", ""),
        ("runs/b", "runs/a", " --run-dir runs/b"),
        ("lorapar-run", "runs/a", " --run-dir lorapar-run"),
    ],
)
def test_the_run_directory_is_named_unless_the_shell_has_it(monkeypatch, run_dir, variable, behind):
    monkeypatch.delenv("LORAPAR_RUN_DIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("LORAPAR_RUN_DIR", variable)
    assert next_on(Path(run_dir), "lorapar score") == f"lorapar score{behind}"
