"""Identities and prices."""

from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.teacher import Price, answer_key, identities


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
