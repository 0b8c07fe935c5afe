"""Rank and world size, as launchers set them."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.launcher import is_launched, is_main, rank, world_size


def test_without_a_launcher_there_is_one_process():
    assert (world_size({}), rank({}), is_main({}), is_launched({})) == (1, 0, True, False)


@pytest.mark.parametrize("number", [0, 3])
def test_the_launchers_numbers_are_read(number):
    environment = {"RANK": str(number), "WORLD_SIZE": "4"}
    assert (world_size(environment), rank(environment)) == (4, number)
    assert is_main(environment) == (number == 0)
    assert is_launched(environment)


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert (world_size(), rank(), is_main(), is_launched()) == (8, 2, False, True)


@pytest.mark.parametrize("text", ["", "two", "-1", "1.5", "²", "٣"])
@pytest.mark.parametrize(("read", "name"), [(rank, "RANK"), (world_size, "WORLD_SIZE")])
def test_what_is_not_a_number_is_named(read, name, text):
    with pytest.raises(LoraparError, match=f"`{name}` is not an integer") as caught:
        read({name: text})
    assert caught.value.found == f"`{name}={text}`"


def test_a_launch_has_at_least_one_process():
    with pytest.raises(LoraparError, match="1 or more"):
        world_size({"WORLD_SIZE": "0"})
