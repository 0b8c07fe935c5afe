"""The check that matplotlib is installed."""

import importlib.util

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.plots.matplotlib_extra import require_matplotlib


def test_nothing_happens_where_matplotlib_is_installed():
    pytest.importorskip("matplotlib")
    require_matplotlib()


def test_the_extra_is_named_where_it_is_not(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    with pytest.raises(LoraparError, match="needs matplotlib") as error:
        require_matplotlib()
    assert error.value.hint == "install it with `pip install 'lorapar[plot]'`"
