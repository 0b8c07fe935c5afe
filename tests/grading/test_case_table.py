"""Every written case is judged as a careful reader judges it, and the documentation has the table."""

import functools

import pytest

from tests.grading.case_table import CASES, JUDGES, PAGE, judge_folder, read_cases, table


@functools.cache
def judged():
    """Programs take half a minute: once for all tests."""
    return {row.rule: row for row in judge_folder(CASES)}


@pytest.mark.parametrize("rule", [rule for rules in JUDGES.values() for rule in rules])
def test_rules_judge_as_the_reader(rule):
    # What the rules of others get wrong is shown, not mended.
    if "strict" not in rule and "plain" not in rule:
        assert not judged()[rule].otherwise


@pytest.mark.parametrize("name", JUDGES)
def test_cases_try_to_mislead_as_well(name):
    cases = read_cases(CASES / name)
    wrong = sum(not case["right"] for case in cases)
    assert len(cases) >= 150
    assert 0.35 <= wrong / len(cases) <= 0.55
    assert len(
        {(case["completion"], case.get("reference", case.get("test"))) for case in cases}
    ) == len(cases)


def test_the_table_of_the_documentation_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert table([*judged().values()]) in page, "run `make docs`"
