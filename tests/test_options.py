"""One statement of an option: what is resolved, what is refused, what is recorded."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from lorapar_cli.cli.config import OPTIONS
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.errors import UsageError
from lorapar_cli.limits import LARGEST_NUMBER
from lorapar_cli.options import Options, find_problem, option, options_of, required
from lorapar_cli.tools.export import ExportOptions


@dataclass(frozen=True)
class Sample(Options):
    data: str = required("Data.", argument=True)
    share: float = option(0.5, "Share.", above=0, at_most=1)
    count: int | None = option(None, "Count.", at_least=1)
    way: Literal["fast", "slow"] = option("fast", "Way.")
    names: tuple[str, ...] = option(("a",), "Names.")
    sizes: tuple[int, ...] = option((1,), "Sizes.", at_least=1)
    out: Path | None = option(None, "Out.", recorded=False)
    from_: str = option("x", "From.")
    flag: bool = option(False, "Flag.")


def test_fields_are_resolved():
    by_name = {each.name: each for each in options_of(Sample)}
    assert list(by_name) == [
        *("data", "share", "count", "way", "names", "sizes", "out", "from_", "flag")
    ]
    assert (by_name["count"].kind, by_name["count"].optional) == (int, True)
    assert by_name["way"].choices == ("fast", "slow")
    assert (by_name["names"].kind, by_name["names"].item) == (tuple, str)
    assert (by_name["sizes"].kind, by_name["sizes"].item) == (tuple, int)
    assert by_name["from_"].flag == "--from"
    assert by_name["data"].flag == "data"


def test_only_recorded_values_are_settings():
    assert list(Sample("d").settings()) == [
        *("data", "share", "count", "way", "names", "sizes", "from_", "flag")
    ]


def test_values_that_a_stage_found_are_recorded_in_the_place_of_their_field():
    settings = Sample("d", names=("b", "a")).settings(out="found", names=["a", "b"])
    assert list(settings.items()) == [
        *(("data", "d"), ("share", 0.5), ("count", None), ("way", "fast")),
        *(
            ("names", ["a", "b"]),
            ("sizes", (1,)),
            ("out", "found"),
            ("from_", "x"),
            ("flag", False),
        ),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": 0}, "`--share` must be above 0 and at most 1, not 0"),
        ({"share": 1.5}, "`--share` must be above 0 and at most 1, not 1.5"),
        ({"share": math.nan}, "`--share` is not a finite number: nan"),
        ({"share": 10**400}, "`--share` is not a finite number: 1000"),
        ({"share": True}, "`--share` takes a value of type float, not True"),
        ({"count": 0}, "`--count` must be at least 1, not 0"),
        ({"count": 1.5}, "`--count` takes a value of type int, not 1.5"),
        ({"way": "slwo"}, "`--way` has no `slwo`, did you mean `slow`?; it is one of"),
        ({"names": ["a"]}, "`--names` takes a value of type tuple"),
        ({"names": ("a", 1)}, "`--names` takes values of type str, not 1"),
        ({"sizes": (1, 2.5)}, "`--sizes` takes values of type int, not 2.5"),
        ({"sizes": (1, True)}, "`--sizes` takes values of type int, not True"),
        ({"sizes": (1, 0)}, "`--sizes` must be at least 1, not 0"),
        ({"out": "folder"}, "`--out` takes a value of type Path"),
        ({"data": None}, "`data` needs a value"),
        ({"count": 10**16}, "`--count` is larger than any number that means something here: 1e+16"),
        ({"flag": 1}, "`--flag` takes a value of type bool, not 1"),
    ],
)
def test_values_that_cannot_be_used_are_refused(changed, message):
    with pytest.raises(UsageError) as caught:
        replace(Sample("d"), **changed)
    assert caught.value.what.startswith(message)


def test_every_problem_is_in_one_message():
    with pytest.raises(UsageError) as caught:
        Sample("d", share=2.0, count=0)
    assert "2 options" in caught.value.what
    assert "--share" in caught.value.found
    assert "--count" in caught.value.found


def test_whole_numbers_are_values_of_a_float():
    assert Sample("d", share=1).share == 1


@dataclass(frozen=True)
class Changed(Sample):
    share: float = 0.25


def test_a_subclass_may_change_a_default_and_nothing_else():
    (share,) = [each for each in options_of(Changed) if each.name == "share"]
    assert share.default == Changed("d").share == 0.25
    assert share.stated.doc == "Share."
    assert list(Changed("d").settings()) == list(Sample("d").settings())
    with pytest.raises(UsageError, match="`--share` must be above 0"):
        Changed("d", share=0)


CLASSES = [*OPTIONS.values(), CompareOptions, SweepOptions, ExportOptions]
# What may be as large as somebody likes: a limit that is not reached, or an interval that never ends.
UNBOUNDED = {"limit", "max_cost", "max_grad_norm", "save_steps", "eval_steps", "watch"}
UNBOUNDED |= {"stop_after", "patience_steps", "min_votes", "show_tokens", "budget", "protect", "k"}
# Training says that it diverges.
UNBOUNDED |= {"learning_rate"}
KEY = "sk-proj-Ab12Cd34Ef56Gh78"


@pytest.mark.parametrize("options", CLASSES)
def test_every_number_that_costs_time_or_memory_has_a_largest_value(options):
    numbers = [each for each in options_of(options) if {each.kind, each.item} & {int, float}]
    for each in numbers:
        limits = (each.stated.at_most, each.stated.below)
        bounded = any(limit is not None for limit in limits)
        assert bounded != (each.name in UNBOUNDED), each.name
        whole = float not in (each.kind, each.item)
        beyond = 10**16 if whole else 10 * LARGEST_NUMBER
        refused = find_problem(each, (beyond,) if each.kind is tuple else beyond) is not None
        assert refused == (whole or bounded), each.name


@pytest.mark.parametrize("options", CLASSES)
@pytest.mark.parametrize("text", [KEY, f"https://me:{KEY}@host/a", f"https://host/a?api_key={KEY}"])
def test_no_text_that_is_recorded_may_be_a_key(options, text):
    texts = [each for each in options_of(options) if {each.kind, each.item} & {str, Path}]
    for each in texts:
        if each.name == "teachers" or each.choices:
            continue
        one = Path(text) if each.kind is Path else text
        problem = find_problem(each, (one,) if each.kind is tuple else one)
        if problem is None:
            assert each.kind is Path  # `Path` turns `//` into `/`, which is an address no longer.
            assert "://" not in str(one)
        else:
            assert "looks like a key" in problem
            assert KEY[8:] not in problem
