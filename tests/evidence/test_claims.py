"""What the page and the README say of the conclusions that the paper draws from its tables."""

import pytest

from evidence.page import findings
from evidence.page.claims import CLAIMS, verdicts
from evidence.page.readme import claims_of
from evidence.page.write import page_of
from evidence.paper_tables import GRIDS
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.comparison.sweep.sweep import open_plan
from tests.evidence.page_parts import begun, results


def paper_table(*differences):
    """Returns Table 7 as a sweep leaves it, with what SFT before RL is better by for each seed."""
    return {
        "title": "Order",
        "seeds": list(range(len(differences))),
        "note": "A note.",
        "layout": {"rows": ["order"], "columns": [], "figures": {"first": "SFT", "second": "RL"}},
        "table": [
            {
                "labels": {"order": order},
                "mean": {"first": 1.0, "second": value},
                "deviation": {"second": 0.5},
                "published": {"second": published},
            }
            for order, value, published in (("sft-rl", 60.0, 81.65), ("rl-sft", 50.0, 68.46))
        ],
        "by_seed": [
            {"labels": {"order": order}, "seed": seed, "figures": {"second": 50.0 + more}}
            for seed, difference in enumerate(differences)
            for order, more in (("sft-rl", difference), ("rl-sft", 0.0))
        ],
    }


@pytest.mark.parametrize(
    ("differences", "words", "in_sentence", "in_short", "negative"),
    [
        (
            (9.0, 10.0, 11.0),
            "holds",
            "can be shown to hold",
            "1 can be shown to hold and none to be reversed. ",
            False,
        ),
        (
            (-9.0, -10.0, -11.0),
            "the opposite holds",
            "can be shown to be reversed",
            "none can be shown to hold and 1 to be reversed (SFT before RL above RL before SFT, ",
            True,
        ),
        (
            (-9.0, 10.0, 11.0),
            "cannot be told",
            "cannot be told",
            "none can be shown to hold and none to be reversed. ",
            True,
        ),
    ],
)
def test_what_holds_of_a_published_table(differences, words, in_sentence, in_short, negative):
    found = results(tables={"table7": paper_table(*differences)})
    (finding,) = findings.find_all(found)
    assert f": of 1 conclusion, 1 {in_sentence}: SFT before RL above" in finding.text
    (in_readme,) = claims_of(found)
    assert f": of 1 conclusion, {in_short}" in in_readme.text
    assert finding.negative is in_readme.negative is negative
    page = page_of(found)
    assert f"| {words} |" in page
    assert "| sft-rl | 1.00 |  | 60.00 ± 0.50 | 81.65 |" in page


def test_the_readme_waits_for_all_tables():
    found = results(tables={"table7": paper_table(9.0, 10.0, 11.0)})
    assert claims_of(begun(found, "tables", "table5")) == []


def test_claims_of_the_paper_are_corrected_for_their_number():
    alone = results(tables={"table7": paper_table(6.0, 10.0, 14.0)})
    assert [each.words for each in verdicts(alone["tables"])] == ["holds"]
    table5 = {
        **paper_table(),
        "by_seed": [
            {"labels": {"row": name}, "seed": seed, "figures": {"second": value + 3 * seed % 2}}
            for seed in range(3)
            for name, value in (("LoRA-PAR", 3.0 * (seed == 1)), ("LoRA + RL", 1.0))
        ],
    }
    both = results(tables={"table7": paper_table(6.0, 10.0, 14.0), "table5": table5})
    assert [(each.table, each.words) for each in verdicts(both["tables"])] == [
        ("table5", "cannot be told"),
        ("table7", "points the same way, not significant after correction"),
    ]


def test_every_claim_names_cells_of_its_table():
    for name, claims in CLAIMS.items():
        plan = open_plan(SweepOptions(grid=GRIDS / f"{name}.yaml", embedded=True, seeds=1))
        labels = [each.cell.labels for each in plan.cells]
        for place in (place for claim in claims for pair in claim.pairs for place in pair):
            found = [one for one in labels if place[0].items() <= one.items()]
            assert len(found) == 1, (name, place)


def test_processor_time_without_that_of_a_killed_call_is_a_lower_bound():
    found = results(tables={"table5": paper_table(), "table7": paper_table()})
    assert "; 0.02 hours of processor time;" in page_of(found)
    found["tables"].content["units"]["table7"]["cpu_at_least"] = True
    assert "; at least 0.02 hours of processor time;" in page_of(found)
