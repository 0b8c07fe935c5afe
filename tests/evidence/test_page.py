"""`docs/results.md`, the README's claims and `strong.yaml` say what the files of results say."""

import json

import pytest

from evidence.page import findings
from evidence.page.readme import END, START, claims_of, readme_block
from evidence.page.results_files import is_better, read_results
from evidence.page.write import (
    PAGE,
    README,
    RESULTS,
    ROOT,
    page_of,
    strong_settings,
    with_block,
    write_docs,
)
from lorapar_cli.store.yaml_file import read_yaml
from tests.evidence.page_parts import begun, results, row

STRONG = ROOT / "sample_configs" / "strong.yaml"


def test_the_page_is_current():
    assert page_of(read_results(RESULTS)) == PAGE.read_text(), "run `make docs`"


def test_the_readmes_claims_are_current():
    text = README.read_text()
    assert with_block(text, readme_block(read_results(RESULTS))) == text, "run `make docs`"


def test_strong_yaml_is_the_recipe_that_the_results_name():
    settings = strong_settings(read_results(RESULTS))
    assert STRONG.is_file() == (settings is not None)
    if settings is not None:
        stated = read_yaml(STRONG)
        for stage, options in settings.items():
            if isinstance(options, dict):
                assert options.items() <= stated[stage].items()


def recipes(**changes):
    rows = [
        row("mine", 0.1, against=against, system=system)
        for against in findings.YARDSTICKS
        for system in ("system1", "system2")
    ]
    for place, change in changes.items():
        rows[int(place[1:])] |= change
    cells = [{"cell": "mine", "stage": "train-rl", "accuracy": {"system1": 0.5, "system2": 0.5}}]
    return {
        "recipes": {
            "recipes": {"mine": {"train-sft": {"replay": 0.3}}},
            "differences": rows,
            "cells": cells,
        }
    }


def test_a_strong_recipe_is_better_than_each_yardstick_on_both_systems():
    assert findings.strong_recipe(results(recipes=recipes())) == "mine"
    for place in range(6):
        for change in ({"p_holm": 0.05}, {"difference": -0.1}):
            weak = results(recipes=recipes(**{f"_{place}": change}))
            assert findings.strong_recipe(weak) is None


def test_no_recipe_is_strong_before_the_study_is_complete():
    found = begun(results(recipes=recipes()), "recipes", "more")
    assert findings.strong_recipe(found) is None
    assert "has not been measured to the end" in readme_block(found)


def test_the_readme_names_a_strong_recipe_or_says_that_there_is_none():
    claims = {text.text: text for text in findings.find_all(results(recipes=recipes()))}
    assert any("our recipe `mine`" in text and "embedded model" in text for text in claims)
    without = findings.find_all(results(recipes=recipes(_0={"p_holm": 0.5})))
    (none,) = [each for each in without if "of 1 recipes of ours, none is" in each.text]
    assert none.negative
    assert "our recipe `mine`" in readme_block(results(recipes=recipes()))
    assert "of 1 recipes of ours, none is" in readme_block(
        results(recipes=recipes(_0={"p_holm": 0.5}))
    )


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (row("a", -0.1, measure="loss"), True),
        (row("a", 0.1, measure="loss"), False),
        (row("a", 0.1), True),
        (row("a", -0.1), False),
        (row("a", 0.1, p=0.05), None),
        (row("a", 0.0, p=0.0), None),
    ],
)
def test_what_is_better(one, expected):
    assert is_better(one) is expected


def masks(difference, p=0.01):
    rows = [row("paper", difference, p, measure="loss")]
    return {"cells": [], "base": {"loss": {}, "accuracy": {}}, "differences": rows}


@pytest.mark.parametrize(
    ("units", "negative", "words"),
    [
        ({"2": masks(-0.1)}, False, "is better than {} at 2 % of the elements."),
        ({"2": masks(0.1)}, True, "is worse than {} at 2 % of the elements."),
        ({"2": masks(0.1, 0.9)}, True, "cannot be told apart from {} at 2 % of the elements."),
        (
            {"2": masks(-0.1), "7": masks(-0.1), "20": masks(0.1, 0.9), "36": masks(0.1)},
            True,
            "is better than {} at 2 % and 7 % and is worse at 36 % of the elements; at 20 % the two "
            "cannot be told apart.",
        ),
    ],
)
def test_the_papers_rule_budget_by_budget(units, negative, words):
    found = results(embedded_sft=units)
    (on_page,) = findings.find_all(found)
    assert on_page.text == (
        "SFT, embedded model, loss on System 1: the paper's rule "
        + words.format("a random mask of the same size")
    )
    (in_readme,) = claims_of(found)
    assert in_readme.text == (
        "SFT, tiny model (loss on System 1): the paper's mask "
        + words.format("a random one of the same size")
    )
    assert on_page.negative is in_readme.negative is negative
    head = "Against the method:" if negative else "For it:"
    assert f"{head}\n\n- {in_readme.text}\n" in readme_block(found)


@pytest.mark.parametrize(("difference", "negative"), [(-0.1, True), (0.1, False)])
def test_full_lora_against_the_papers_mask(difference, negative):
    unit = masks(-0.1)
    unit["differences"].append(row("full", difference, against="paper", measure="loss"))
    found = results(embedded_sft={"2": unit})
    relation = "better" if negative else "worse"
    for texts in (findings.find_all(found), claims_of(found)):
        (one,) = [each for each in texts if f"is {relation} than the paper's mask" in each.text]
        assert one.negative is negative


def test_budgets_that_are_not_measured_yet_are_said():
    found = begun(results(embedded_sft={"2": masks(-0.1)}), "embedded-sft", "7")
    assert "of the elements (not measured yet: 7 %)." in findings.find_all(found)[0].text
    assert "of the elements (not measured yet: 7 %)." in readme_block(found)


def test_the_short_answer_counts_the_papers_mask_against_a_random_one():
    assert findings.in_short(results(embedded_sft={"2": masks(-0.1)})) is None

    def judged(*verdicts):
        measured = {"system1": 40, "system2": 60}
        cells = [{"cell": "paper", "seeds": [1, 2, 3]}]
        verdicted = [{"finding": each} for each in verdicts]
        return masks(-0.1) | {"verdicts": verdicted, "measured": measured, "cells": cells}

    found = results(
        embedded_sft={"2": judged("earned"), "7": judged("earned"), "20": judged("not shown")},
        embedded_rl={"2": judged("worse")},
        real_training={"2": judged("not shown", "not compared")},
    )
    text = findings.in_short(found)
    assert "the same size in 5 settings. It is better in 2 and worse in 1; in 2 the" in text
    block = readme_block(found)
    assert text in block
    assert "3 trainings of each kind, 40 to 60 test records per system" in block


def test_what_recipes_reach_against_the_papers_and_full_lora():
    units = recipes(_4={"p_holm": 0.5}, _5={"difference": -0.1})
    found = {each.text: each.negative for each in findings.find_all(results(recipes=units))}
    start = "Recipes on the embedded model, accuracy after both stages against"
    assert (
        found.pop(f"{start} `paper`: better on System 1: `mine`; better on System 2: `mine`.")
        is False
    )
    assert found.pop(f"{start} `full`: worse on System 2: `mine`.") is True
    (none,) = found
    assert "of 1 recipes of ours, none is" in none


def test_negative_findings_stand_first():
    units = {"2": masks(-0.1)}
    units["2"]["differences"].append(row("snr", 0.1, measure="loss"))
    found = findings.find_all(results(embedded_sft=units))
    assert [finding.negative for finding in found] == [True, False]


def test_replay_by_what_it_does_to_each_system():
    rows = [
        row("replay-10", 0.2, against="paper"),
        row("replay-30", -0.1, against="paper"),
        row("self-30", -0.1, 0.9, against="paper"),
        row("paper", -0.3, against="everything", system="system2"),
        row("paper", 0.3, against="everything"),
    ]
    found = findings.find_all(results(replay={"rules": {"differences": rows}}))
    assert [
        (each.text.removeprefix("Split by three rules' vote, embedded model"), each.negative)
        for each in found
    ] == [
        (
            ", accuracy on System 1 after both stages, against that without replay: higher with "
            "`replay-10`, lower with `replay-30`, not to be told apart with `self-30`.",
            True,
        ),
        (
            ": SFT of every element on all records, as many of them, is better in accuracy than `paper` "
            "on System 2.",
            True,
        ),
        (
            ": SFT of every element on all records, as many of them, is worse in accuracy than `paper` "
            "on System 1.",
            False,
        ),
    ]


def test_the_readme_counts_the_splits_in_which_two_stages_beat_one():
    def split(*differences):
        return {
            "differences": [
                row("paper", difference, against="everything", system=system)
                for system, difference in zip(("system1", "system2"), differences, strict=True)
            ]
        }

    higher_loss = row("paper", 0.3, against="everything", measure="loss", system="system2")
    units = {"truth": split(0.3, 0.2), "rules": split(0.3, -0.2), "random": split(0.0, 0.0)}
    assert claims_of(begun(results(replay=units), "replay", "student")) == []
    units["truth"]["differences"].append(higher_loss)
    start, end = "SFT and RL, tiny model (accuracy on ", "of 3 ways to split the records."
    than = "than SFT of every element on as many records of both systems, with"
    assert [(claim.text, claim.negative) for claim in claims_of(results(replay=units))] == [
        (f"{start}System 1): the paper's recipe is better {than} 2 {end}", False),
        (f"{start}System 2): the paper's recipe is worse {than} 1 {end}", True),
        (f"{start}System 2): the paper's recipe is better {than} 1 {end}", False),
        (
            "SFT and RL, tiny model (loss on System 2): the paper's recipe is worse "
            f"{than} 1 of 1 ways to split the records.",
            True,
        ),
    ]


def test_faults_are_corrected_over_all_of_them():
    units = {name: {"differences": [row(name, 0.1, 0.03)], "cells": []} for name in ("a", "b")}
    found = findings.find_all(results(authors=units))
    # Two p-values of 0.03 are not significant together; that is not to say that nothing changes.
    for finding in found:
        assert "cannot be told apart from the same training without it with 2 seeds" in finding.text
        assert "1 of 1 intervals exclude 0, accuracy on System 1 after RL by +0.100" in finding.text
    alone = findings.find_all(results(authors={"a": units["a"]}))
    assert "`a` changes accuracy on System 1 after RL by +0.100." in alone[0].text


def test_a_fault_that_shows_nothing_says_what_it_might_change():
    rows = [row("a", 0.001, 0.8), row("a", -0.002, 0.8, measure="loss", system="system2")]
    (found,) = findings.find_all(results(authors={"a": {"differences": rows, "cells": []}}))
    assert "allow for a change of accuracy by up to 0.011 and loss by up to 0.012." in found.text


def test_only_the_marked_block_is_replaced(tmp_path):
    text = f"before\n{START}\nold\n{END}\nafter"
    assert with_block(text, f"{START}new{END}") == f"before\n{START}new{END}\nafter"
    for broken in ("none", START, f"{START}{END}{START}{END}"):
        with pytest.raises(ValueError, match="no block"):
            with_block(broken, "new")


def test_a_changed_figure_is_noticed(tmp_path):
    (tmp_path / "results").mkdir()
    units = results(recipes=recipes())["recipes"].content
    units["units"]["recipes"]["result"] |= {"base": {"loss": {}, "accuracy": {}}, "cells": []}
    (tmp_path / "README.md").write_text(f"{START}{END}")

    def write(content):
        (tmp_path / "results" / "recipes.json").write_text(json.dumps(content))
        folder = tmp_path / "results"
        found = read_results(folder)
        return readme_block(found)

    units["units"]["recipes"]["result"]["recipes"] = {}
    first = write(units)
    assert "of 0 recipes of ours, none is" in first
    units["unfinished"] = ["more"]
    assert write(units) != first


def test_pages_are_written_from_a_folder(tmp_path):
    (tmp_path / "README.md").write_text(f"x\n{START}\n{END}\ny\n")
    write_docs(tmp_path / "none", tmp_path / "results.md", tmp_path / "README.md")
    assert "9 of 9 studies are not complete" in (tmp_path / "README.md").read_text()
    assert "Nothing is measured yet" in (tmp_path / "results.md").read_text()
