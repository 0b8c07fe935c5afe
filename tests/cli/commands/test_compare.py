"""`lorapar compare` as a command: what it says of a comparison."""

import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.comparison import compare as stage


def test_what_a_budget_left_out_is_said_as_such(monkeypatch, capsys, tmp_path):
    comparison = {
        "notes": ["`rank` is plain LoRA of rank 1"],
        "left_out": ["1 of 2 seeds", "cells `full`"],
        "cells": [{"cell": "wild", "stage": "train-rl", "diverged": "loss is nan"}],
        "verdicts": [],
        "sentence": "In SFT nothing can be said",
    }
    monkeypatch.setattr(stage, "compare", lambda *_, **__: comparison)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--run-dir", str(tmp_path), "--budget", "3m"])
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert shown.out == "In SFT nothing can be said.\n"
    assert shown.err.splitlines()[:4] == [
        "note: `rank` is plain LoRA of rank 1",
        "note: `train-rl` of `wild` has no figures: loss is nan",
        "note: left out to fit into `--budget`: 1 of 2 seeds",
        "note: left out to fit into `--budget`: cells `full`",
    ]
