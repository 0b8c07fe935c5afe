"""From parsed values to an options dataclass."""

from dataclasses import dataclass

import pytest

from lorapar_cli.cli.stage_command import read_options
from lorapar_cli.errors import UsageError
from lorapar_cli.options import Options, option


@dataclass(frozen=True)
class Sample(Options):
    names: tuple[str, ...] = option((), "Names.")
    modules: tuple[str, ...] = option(("q", "v"), "Modules.")
    count: int | None = option(None, "Count.")


@pytest.mark.parametrize("given", [None, ""])
def test_a_list_that_may_be_empty_is_empty_when_nothing_is_named(given):
    assert read_options(Sample, {"names": given, "modules": "q", "count": None}) == Sample(
        (), ("q",), None
    )


def test_lists_are_separated_by_commas():
    read = read_options(Sample, {"names": "a, b,", "modules": "k", "count": 2})
    assert read == Sample(("a", "b"), ("k",), 2)


def test_a_list_with_a_default_cannot_be_emptied():
    with pytest.raises(UsageError, match="`--modules` names nothing"):
        read_options(Sample, {"names": None, "modules": "", "count": None})
