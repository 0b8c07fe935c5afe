"""Trackers by name: those that are missing, and what one expects that the library no longer gives."""

import importlib
import importlib.util
import sys
from types import SimpleNamespace

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.training.options import TRACKERS
from lorapar_cli.training.trackers import _SwanLab, require_tracker


@pytest.mark.parametrize("name", TRACKERS[1:])
def test_a_missing_tracker_is_named(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LoraparError, match=f"tracker `{name}` is not installed") as caught:
        require_tracker(name)
    assert name in caught.value.hint


@pytest.mark.parametrize("kind", ["folder", "broken"])
def test_a_folder_or_a_broken_package_is_not_a_tracker(tmp_path, monkeypatch, kind):
    (tmp_path / "swanlab").mkdir()
    expected = "is not installed"
    if kind == "broken":
        (tmp_path / "swanlab" / "__init__.py").write_text("import package_that_is_missing\n")
        expected = "cannot be imported"
    # Nothing else: whether the real package is installed must not matter.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "swanlab", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(LoraparError, match=expected):
        require_tracker("swanlab")


def test_no_run_of_swanlab_yet_is_none():
    def get_run():
        if not runs:
            raise RuntimeError("no active run")
        return runs[0]

    runs = []
    module = _SwanLab(SimpleNamespace(get_run=get_run, log=runs.append))
    assert module.get_run() is None
    module.log("one")
    assert module.get_run() == "one"
