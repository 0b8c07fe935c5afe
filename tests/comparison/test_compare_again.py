"""`compare` once more: nothing is trained twice, the table stays, also after a kill."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from lorapar_cli import __version__
from lorapar_cli.comparison.compare import compare
from tests.comparison.compare_parts import command, options, without_times
from tests.comparison.earlier_version import rename, without


def test_nothing_is_trained_twice_and_the_table_stays(setup, tmp_path, trained):
    first = compare(setup, options(tmp_path))
    assert len(trained) == 4
    again = compare(setup, options(tmp_path))
    assert len(trained) == 4
    assert again == first
    more = compare(setup, options(tmp_path, seeds=3))
    assert [seed for _, seed, _ in trained[4:]] == [3, 3]
    assert more["cells"][0]["seeds"] == [1, 2, 3]


def test_the_same_seeds_give_the_same_table_from_nothing(setup, tmp_path, trained):
    first = compare(setup, options(tmp_path))
    shutil.rmtree(setup.folder("compare"))
    assert without_times(compare(setup, options(tmp_path))) == without_times(first)
    assert len(trained) == 8


def as_earlier(setup, change):
    """Makes the finished trainings those of an earlier version."""
    folder = setup.folder("compare")
    rename(folder / "cells", change)
    (folder / "results.json").unlink()


@pytest.mark.parametrize(
    ("place", "name"),
    [("score", "packing"), ("partition", "protect"), ("training", "weight_decay")],
)
def test_an_option_that_is_new_trains_nothing_again(setup, tmp_path, trained, place, name):
    first = compare(setup, options(tmp_path, seeds=1))
    as_earlier(setup, without(name, place=place))
    again = compare(setup, options(tmp_path, seeds=1))
    assert len(trained) == 2
    assert again["folders"] != first["folders"]
    assert again | {"folders": 0} == first | {"folders": 0}
    # Further seeds of old cells lie beside the old ones.
    more = compare(setup, options(tmp_path, seeds=2))
    assert len(trained) == 4
    assert more["folders"] == again["folders"]


@pytest.mark.parametrize(
    ("place", "name", "then"),
    [
        ("score", "samples", 150),
        ("partition", "scope", "module"),
        ("training", "max_grad_norm", 0.5),
        ("training", "an_option_that_is_gone", True),
    ],
)
def test_a_default_that_is_another_now_trains_again(setup, tmp_path, trained, place, name, then):
    compare(setup, options(tmp_path, seeds=1))

    def change(recorded):
        assert recorded[place].get(name) != then
        recorded[place][name] = then

    as_earlier(setup, change)
    compare(setup, options(tmp_path, seeds=1))
    assert len(trained) == 4


def test_trainings_of_two_versions_are_told(setup, tmp_path):
    found = compare(setup, options(tmp_path))
    assert found["notes"] == []
    for path in setup.folder("compare").glob("cells/*/rate-*-seed-1/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"lorapar": "0.0.1"}))
    (note,) = compare(setup, options(tmp_path))["notes"]
    assert note.startswith(f"trained by lorapar 0.0.1, {__version__}: ")


def test_a_kill_repeats_no_finished_training(setup, tmp_path, trained):
    """Killed as soon as the first training has its result; the rest is done by the next command."""
    process = subprocess.Popen(
        command(setup, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pattern = "cells/*/rate-*/result.json"
    while process.poll() is None and not list(setup.folder("compare").glob(pattern)):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path: path.read_bytes() for path in setup.folder("compare").glob(pattern)}
    assert 1 <= len(finished) < 4
    assert not (setup.folder("compare") / "results.json").exists()
    found = compare(setup, options(tmp_path))
    assert len(trained) == 4 - len(finished)
    assert {path: path.read_bytes() for path in finished} == finished
    # Nothing of the kill is seen in the figures.
    shutil.rmtree(setup.folder("compare"))
    assert without_times(compare(setup, options(tmp_path))) == without_times(found)
