"""Identities and prices."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.teacher import (
    Price,
    answer_key,
    identities,
    with_template_arguments,
)


def test_prices_are_for_a_million_tokens():
    assert Price(2.5, 10).of(1_000_000, 100_000) == 3.5


def test_an_answers_key_depends_on_model_prompt_and_record_only():
    here, there = (
        find_teachers([f"a=m@http://{host}/v1", "b=n@http://h/v1"]) for host in ("h", "other")
    )
    assert identities(here) == identities(there) == ["m", "n"]
    same = find_teachers(["a=m@http://h/v1", "b=m@http://other/v1"])
    assert len(set(identities(same))) == 2
    keys = {answer_key(i, p, r) for i in "mn" for p in ("x", "y") for r in (b"1", b"2")}
    assert len(keys) == 8
    assert all(len(key) == 32 for key in keys)


def test_arguments_of_chat_templates_are_part_of_what_a_local_teacher_is(tiny_model_dir):
    found = find_teachers([f"one=hf:{tiny_model_dir}", "two=m@http://h/v1", "rules-cues"])
    given = with_template_arguments(found, ["style=plain", "enable_thinking=false"])
    assert given[1:] == found[1:]
    assert given[0].template_args == ("enable_thinking=false", 'style="plain"')
    (before, *others), (after, *same) = identities(found), identities(given)
    assert after == before + ' enable_thinking=false style="plain"'
    assert same == others
    assert with_template_arguments(found, []) == found


def test_arguments_without_a_local_teacher_are_refused():
    with pytest.raises(UsageError, match="is for local teachers") as caught:
        with_template_arguments(find_teachers(["rules-cues"]), ["enable_thinking=false"])
    assert caught.value.found == "rules-cues"
