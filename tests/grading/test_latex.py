"""Answers compared as mathematics; needs the extra `latex`."""

import sys

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.grade import grade
from lorapar_cli.grading.latex import latex, latex_match
from lorapar_cli.training.rewards.load import resolve_rewards


@pytest.mark.extra("math_verify")
@pytest.mark.parametrize(
    ("found", "reference", "equal"),
    [
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("(1,2)", "(2,1)", False),
        (r"\frac{\pi}{2}", r"$\pi/2$", True),
        ("1,080 dollars", "1080", True),
        (r"\sqrt{2}", "2", False),
        ("nonsense", "5", False),
        (None, "5", False),
    ],
)
def test_expressions(found, reference, equal):
    assert latex_match(found, reference) is equal


@pytest.mark.extra("math_verify")
def test_reward_by_its_path_and_match_of_eval():
    rewards = resolve_rewards("lorapar_cli.grading.latex.latex=2")
    ((reward, weight),) = rewards.values()
    assert weight == 2
    texts = [r"so \boxed{2\sqrt{3}}", "#### 4"]
    assert reward(texts, [r"\sqrt{12}", "5"]) == [1.0, 0.0]
    (found,) = grade("latex", texts[:1], [r"\sqrt{12}"])
    assert found == {"extracted": r"2\sqrt{3}", "correct": True}


@pytest.mark.extra("math_verify")
def test_a_tower_of_powers_takes_no_minutes():
    assert not latex_match("9^{9^{9^{9}}}", "5")


def test_without_math_verify_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(LoraparError, match="needs math-verify"):
        latex(["#### 1"], ["1"])
