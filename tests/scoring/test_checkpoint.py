"""How often sums are saved, on a clock of our own."""

import os
from types import SimpleNamespace

import pytest
import torch

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.scoring import checkpoint as saved_sums
from lorapar_cli.scoring.accumulate import GradientPass
from lorapar_cli.scoring.checkpoint import SavedSums


@pytest.mark.parametrize("writing", [0.1, 2.0, 10.0, 60.0])
def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch, writing):
    clock = SimpleNamespace(now=0.0, writes=0)

    def write(*_arguments):
        clock.now += writing
        clock.writes += 1

    monkeypatch.setattr(saved_sums.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(saved_sums, "write_partial", write)
    scoring = GradientPass([], [], GradientSums({"a": 3}), 0)
    saved = SavedSums(tmp_path / "sums", {}, 60)
    while clock.now < 50_000:
        clock.now += 1.0  # a batch
        saved.keep(scoring)
    assert clock.writes * writing <= 0.034 * clock.now
    assert clock.writes >= 0.9 * min(clock.now / (60 + writing), 0.032 * clock.now / writing)


def test_what_was_saved_is_restored(tmp_path):
    scoring = GradientPass([], [], GradientSums({"a": 3}), 0, done={1, 4})
    scoring.sums.flat += torch.arange(12.0).reshape(2, 2, 3)
    scoring.sums.tally += 2
    SavedSums(tmp_path / "sums", {"seed": 0}, 0).keep(scoring)
    fresh = GradientPass([], [], GradientSums({"a": 3}), 0)
    assert SavedSums(tmp_path / "sums", {"seed": 1}, 0).restore(fresh) == 0
    assert SavedSums(tmp_path / "sums", {"seed": 0}, 0).restore(fresh) == 2
    assert torch.equal(fresh.sums.flat, scoring.sums.flat)
    assert torch.equal(fresh.sums.tally, scoring.sums.tally)
    assert fresh.done == {1, 4}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, -1),
        lambda path: flip(path, -120),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(400)),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/nonexistent/sums")),
    ],
)
def test_damaged_sums_are_said_and_not_used(tmp_path, damage):
    scoring = GradientPass([], [], GradientSums({"a": 30}), 0, done={1, 4})
    scoring.sums.flat += torch.arange(120.0).reshape(2, 2, 30)
    SavedSums(tmp_path / "sums", {"seed": 0}, 0).keep(scoring)
    damage(tmp_path / "sums")
    fresh = GradientPass([], [], GradientSums({"a": 30}), 0)
    saved = SavedSums(tmp_path / "sums", {"seed": 0}, 0)
    assert saved.restore(fresh) == 0
    assert saved.damage
    assert not fresh.done
    assert not fresh.sums.flat.any()
