"""What was forgotten, in words and in tables."""

import copy

from lorapar_cli.tools.forgetting import model_columns, stage_rows, stage_sentence

FOUND = {
    "others": ["system1"],
    "basis": {
        "records": {"system1": 88, "system2": 112},
        "prompts": {"system2": 100},
        "sources": {},
        "neutral_tokens": 8000,
    },
    "before": {
        "loss": {"system1": 0.2, "system2": 0.3},
        "kl": {"system2": 0.05},
        "neutral_loss": 3.0,
    },
    "after": {
        "loss": {"system1": 0.25, "system2": 0.1},
        "kl": {"system2": 0.5},
        "neutral_loss": 3.001,
    },
}
VALIDATION = {
    "records": {"system2": 9},
    "every": 10,
    "measure": "accuracy",
    "points": [
        {"step": 0, "loss": {"system2": 1.0}, "accuracy": {"system2": 0.25}},
        {"step": 20, "loss": {"system2": 0.5}, "accuracy": {"system2": 0.75}},
        {"step": 30, "loss": {"system2": 0.6}, "accuracy": {"system2": 0.5}},
    ],
    "best_step": 20,
    "published_step": 20,
}


def test_a_stage_says_what_it_cost_the_other_system():
    said = stage_sentence(FOUND)
    assert "88 held-out records of System 1 rose from 0.2000 to 0.2500 (+25.0%)" in said
    assert "prompts of System 2 is 0.5000, 0.0500 before" in said
    assert "the loss on neutral text stayed at 3.0010" in said
    # Its own system is what it trained for.
    assert "of System 2 fell" not in said


def test_a_stage_without_another_system_names_all():
    found = copy.deepcopy(FOUND) | {"others": []}
    said = stage_sentence(found)
    assert "of System 1 rose" in said
    assert "of System 2 fell from 0.3000 to 0.1000 (-66.7%)" in said
    found["before"]["loss"] = found["after"]["loss"] = {}
    found["after"]["kl"] = {}
    assert stage_sentence(found).startswith("forgetting: the loss on neutral text")


def test_rows_have_a_cell_for_each_stage():
    rows = stage_rows([{}, {"forgetting": FOUND, "validation": VALIDATION}])
    cells = {label: tuple(own) for label, *own in rows}
    assert cells["published step"] == ("", "20 of 30")
    assert cells["validation accuracy System 2, before and published"] == ("", "25.0%, 75.0%")
    assert cells["validation loss System 2, before and published"] == ("", "1.0000, 0.5000")
    assert cells["held-out loss System 1, before and after"] == ("", "0.2000, 0.2500")
    assert cells["KL from base System 2, before and after"] == ("", "0.0500, 0.5000")
    assert cells["neutral loss, before and after"] == ("", "3.0000, 3.0010")
    assert stage_rows([{}, {}]) == []


def test_models_share_columns_and_the_base_model_has_no_distance():
    heads, cells = model_columns(
        {"base": {"loss": {"system1": 0.5}, "neutral_loss": 3.0}, "sft": FOUND["after"]}
    )
    assert heads == ["loss System 1", "loss System 2", "KL System 2", "neutral loss"]
    assert cells == {
        "base": ["0.5000", "-", "-", "3.0000"],
        "sft": ["0.2500", "0.1000", "0.5000", "3.0010"],
    }
