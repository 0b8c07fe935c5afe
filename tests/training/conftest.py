"""Parts that several tests of training need."""

import pytest

from lorapar_cli.training.rewards.builtin import REWARDS


@pytest.fixture
def reward_with_spread(monkeypatch):
    """Adds a reward `length` that differs between the completions of a random model."""
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])
