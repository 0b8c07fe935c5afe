"""Options of classify: what is refused before anything is read."""

from typing import get_args

import pytest

from lorapar_cli.data.formats import FORMATS
from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.names import DataFormat
from tests.labelling.classify_parts import RULES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": ()}, "no teachers"),
        ({"strategy": "random"}, "`--strategy random` asks no teachers"),
        ({"teachers": RULES[:2], "vote": "weighted"}, "needs at least 3 teachers"),
        ({"vote": "weighted", "economy": True}, "`--economy` skips votes"),
        ({"min_votes": 4}, "`--min-votes 4` exceeds the 3 teachers"),
        ({"format": "alpca"}, "did you mean `alpaca`"),
        ({"share": 1.1}, "`--share` must be at least 0 and at most 1"),
        ({"timeout": 0.0}, "`--timeout` must be at least 0.1"),
        ({"concurrency": 0}, "`--concurrency` must be at least 1"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(UsageError) as error:
        ClassifyOptions(**({"data": ("d.jsonl",), "teachers": RULES} | options))
    assert message in error.value.what


@pytest.mark.parametrize("name", ["holdout", "share", "timeout", "max_cost"])
def test_a_limit_of_nan_would_never_be_reached(name):
    with pytest.raises(UsageError, match="is not a finite number: nan"):
        ClassifyOptions(("d.jsonl",), RULES, **{name: float("nan")})


def test_random_labels_need_no_teachers():
    assert ClassifyOptions(("d.jsonl",), strategy="random").teachers == ()


def test_only_settings_that_decide_the_result_are_recorded():
    assert list(ClassifyOptions(("d.jsonl",), RULES).settings()) == [
        *("strategy", "share", "vote", "on_tie", "role_play", "student"),
        *("student_chain", "economy", "min_votes"),
        *("limit", "holdout", "format", "prompt_field", "completion_field", "id_field"),
        *("answer_field", "turns", "split", "subset", "skip_bad", "seed"),
    ]


def test_the_formats_that_can_be_named_are_those_that_are_known():
    assert set(get_args(DataFormat)) == {"auto", *FORMATS}
