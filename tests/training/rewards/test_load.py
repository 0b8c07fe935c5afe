"""Rewards by name: what an option becomes, and what is refused before anything is loaded."""

import sys

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.training.rewards.load import call_reward, resolve_rewards


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


@pytest.mark.extra("math_verify")
def test_latex_compares_as_mathematics():
    reward, _ = resolve_rewards("latex")["latex"]
    assert reward([r"\boxed{2\sqrt{3}}", "#### 5"], [r"\sqrt{12}", "6"]) == [1.0, 0.0]


def test_latex_without_math_verify_names_the_extra(monkeypatch):
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
        call_reward("mine", lambda texts, references: values, ["a", "b"], [None, None])


def named(completions, **columns):
    assert columns["references"] == columns["reference_answer"] == ["a", None]
    return [len(prompt) for prompt in columns["prompts"]]


def prompts_first(prompts, completions, record_id):
    return [len(prompt) + len(record_id[row]) for row, prompt in enumerate(prompts)]


def other_names(texts, answers):
    assert answers == ["a", None]
    return [len(text) for text in texts]


def completions_only(completions):
    return (len(text) for text in completions)


async def waits(completions, references):
    return [len(text) for text in completions]


class Callable:
    """A reward that is an object."""

    def __call__(self, completions, references):
        return [len(text) for text in completions]


@pytest.mark.parametrize(
    ("reward", "values"),
    [
        (named, [5.0, 2.0]),
        (prompts_first, [7.0, 5.0]),
        (other_names, [1.0, 2.0]),
        (completions_only, [1.0, 2.0]),
        (waits, [1.0, 2.0]),
        (Callable(), [1.0, 2.0]),
    ],
)
def test_functions_of_users_and_of_trl_get_what_they_name(reward, values):
    columns = {"prompts": ["first", "2."], "record_id": ["r1", "r-2"], "reference_answer": None}
    assert call_reward("mine", reward, ["x", "yz"], ["a", None], columns) == values


def test_any_accepted_answer_earns_the_reward():
    completions = ["#### Paris", "#### the capital", "#### Rome", "#### Paris"]
    columns = {"reference_answers": [["Paris", "the capital"]] * 3 + [[]]}
    references = ["Paris"] * 3 + [None]
    answer, _ = resolve_rewards("answer")["answer"]
    assert call_reward("answer", answer, completions, references, columns) == [1, 1, 0, 0]
    choice, _ = resolve_rewards("choice")["choice"]
    columns = {"reference_answers": [["B", "D"], ["B", "D"]]}
    assert call_reward("choice", choice, ["(D)", "(C)"], ["B", "B"], columns) == [1, 0]
    # Without the list, the reference is all that is accepted.
    assert call_reward("answer", answer, ["#### the capital"], ["Paris"]) == [0]


def test_only_rewards_by_name_read_no_answer_from_a_truncated_thought():
    columns = {"in_block": [True, True, False]}
    given = (["4", "4", "4"], ["4", "4", "4"], columns, [True, False, False])
    answer, _ = resolve_rewards("answer")["answer"]
    assert call_reward("answer", answer, *given) == [1, 0, 1]
    assert call_reward("my.length", completions_only, *given) == [1, 1, 1]


def shortest(completions, reference_answers):
    return [min(map(len, answers), default=-1) for answers in reference_answers]


def test_functions_of_users_get_all_accepted_answers():
    columns = {"reference_answers": [["four", "4"], []]}
    assert call_reward("mine", shortest, ["x", "y"], ["four", None], columns) == [1, -1]
    assert call_reward("mine", shortest, ["x", "y"], ["four", None]) == [4, -1]


def leaves(completions, references):
    raise SystemExit(3)


def digits(completions, references):
    return "11"


@pytest.mark.parametrize("reward", [leaves, digits])
def test_leaving_and_text_are_no_rewards(reward):
    with pytest.raises(LoraparError, match="`mine` failed"):
        call_reward("mine", reward, ["x", "yz"], ["a", None])


def test_a_module_that_does_not_run_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_rewards.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="broken_rewards") as caught:
        resolve_rewards("broken_rewards.f")
    assert "SyntaxError" in caught.value.found


def test_what_is_not_a_function_is_named(tmp_path, monkeypatch):
    (tmp_path / "constant_rewards.py").write_text("f = 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"`constant_rewards\.f` is not a function") as caught:
        resolve_rewards("constant_rewards.f=2")
    assert caught.value.found == "int"


def test_code_runs_in_a_sandbox_unless_allowed_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr("lorapar_cli.training.rewards.load.find_backend", asked.append)
    assert list(resolve_rewards("code=3,answer", allow_code=True)) == ["code", "answer"]
    resolve_rewards("code", unsafe_code=True)
    assert asked == [False, True]
