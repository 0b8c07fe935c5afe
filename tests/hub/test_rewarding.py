"""Rewards by name: what an option becomes, and what is refused before anything is loaded."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.hub.rewarding import checked_rewards, resolve_rewards


def test_names_weights_and_the_papers():
    assert {n: w for n, (_, w) in resolve_rewards("answer=2,tags").items()} == {
        "answer": 2.0,
        "tags": 1.0,
    }
    paper = {n: w for n, (_, w) in resolve_rewards("paper").items()}
    assert paper == {
        "answer": 2.0,
        "integer": 0.5,
        "format-strict": 0.5,
        "format-soft": 0.5,
        "tags": 0.5,
    }


def test_latex_compares_as_mathematics():
    pytest.importorskip("math_verify")
    reward, _ = resolve_rewards("latex")["latex"]
    assert reward([r"\boxed{2\sqrt{3}}", "#### 5"], [r"\sqrt{12}", "6"]) == [1.0, 0.0]


def test_latex_without_math_verify_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(LoraparError) as caught:
        resolve_rewards("latex")
    assert "lorapar[latex]" in caught.value.hint


@pytest.mark.parametrize("text", ["code", "anser", "answer=-1", "answer,answer", "os.nope", ""])
def test_what_cannot_be_is_refused(text):
    with pytest.raises(UsageError):
        resolve_rewards(text)


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0, 3.0], [1.0, float("nan")], [float("inf"), 0], [None, 1.0]]
)
def test_values_are_one_finite_number_each(values):
    with pytest.raises(LoraparError, match="`mine`"):
        checked_rewards("mine", lambda texts, references: values, ["a", "b"], [None, None])
