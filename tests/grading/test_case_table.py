"""Every written case is judged as a careful reader judges it, and the documentation has the table."""

import pytest

from tests.grading.case_table import CASES, JUDGES, PAGE, judge_folder, read_cases, table


@pytest.mark.parametrize("row", judge_folder(CASES), ids=lambda row: row.rule)
def test_rules_judge_as_the_reader(row):
    # The strict rule is the harness's: what it gets wrong is shown, not mended.
    if "strict" not in row.rule:
        assert not row.otherwise


@pytest.mark.parametrize("name", JUDGES)
def test_cases_try_to_mislead_as_well(name):
    cases = read_cases(CASES / name)
    wrong = sum(not case["right"] for case in cases)
    assert len(cases) >= 150
    assert 0.35 <= wrong / len(cases) <= 0.55
    assert len({(case["completion"], case["reference"]) for case in cases}) == len(cases)


def test_the_table_of_the_documentation_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert table(judge_folder(CASES)) in page, "run `make docs`"
