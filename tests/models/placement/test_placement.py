"""Where a base model lies: what options and launcher decide, and what is refused."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.placement import WHOLE, Placement, find_placement

ONE, TWO = Processes(0, 1), Processes(1, 2)


@pytest.fixture(autouse=True)
def launcher(monkeypatch):
    """Sets what a launcher would; without it, what this test was started by does not count."""
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "FSDP_VERSION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def place(shard=False, device_map=None, quantize=None, processes=ONE):
    notes = []
    return find_placement(shard, device_map, quantize, processes, notes), notes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, WHOLE),
        ({"processes": TWO}, WHOLE),
        ({"shard": True, "processes": TWO}, Placement(TWO)),
        ({"device_map": "auto"}, Placement(device_map=True)),
        ({"device_map": "auto", "quantize": "4bit"}, Placement(device_map=True)),
    ],
)
def test_options_decide(given, expected):
    placement, notes = place(**given)
    assert placement == expected
    assert bool(notes) == (expected.processes is not None)


def test_what_the_launcher_requests_for_training_holds_here_too(launcher):
    launcher("ACCELERATE_USE_FSDP", "true")
    launcher("FSDP_VERSION", "2")
    assert place(processes=TWO)[0] == Placement(TWO)
    # One process has nobody to share with.
    assert place(processes=ONE)[0] == WHOLE


def test_zero3_is_sharded_too_and_says_so(launcher, monkeypatch):
    from lorapar_cli.models.placement import engines

    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    launcher("ACCELERATE_USE_DEEPSPEED", "true")
    launcher("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    placement, notes = place(processes=TWO)
    assert placement == Placement(TWO)
    assert "ZeRO-3 was requested" in notes[0]
    # ZeRO-2 divides no weights.
    launcher("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    assert place(processes=TWO) == (WHOLE, [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shard": True}, "this is one"),
        ({"device_map": "auto", "processes": TWO}, "one process"),
        ({"shard": True, "quantize": "4bit", "processes": TWO}, "quantised"),
    ],
)
def test_contradictions_are_refused(given, said):
    with pytest.raises(UsageError, match=said) as caught:
        place(**given)
    assert caught.value.hint


def test_an_engine_that_no_stage_supports_is_refused(launcher):
    launcher("ACCELERATE_USE_FSDP", "true")
    launcher("FSDP_VERSION", "1")
    with pytest.raises(LoraparError, match="FSDP1"):
        place(processes=TWO)
