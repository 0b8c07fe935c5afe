"""Each reward on completions a model would write, and the option that names them."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.training.rewards import builtin as rewards
from lorapar_cli.training.rewards.builtin import PAPER_WEIGHTS, REWARDS, parse_weights
from lorapar_cli.training.rewards.names import reward_names

TAGGED = "<reasoning>\n2+2\nis 4\n</reasoning>\n<answer>\n4\n</answer>\n"
ONE_LINE = "<reasoning>2+2</reasoning> <answer>4</answer>"


def score(name: str, completion: str, reference: str | None = None) -> float:
    return REWARDS[name]([completion], [reference])[0]


@pytest.mark.parametrize("name", REWARDS)
def test_one_number_from_0_to_1_for_each_completion(name):
    completions = ["", TAGGED, "#### 4", "\\boxed{", "B", "x" * 5000]
    values = REWARDS[name](completions, ["4", None, "4", "", "B", "4"])
    assert len(values) == len(completions)
    assert all(type(value) is float and 0 <= value <= 1 for value in values)


def test_answer():
    assert score("answer", "#### 1,080", "1080") == 1
    assert score("answer", "#### 1,080", "1") == 0
    assert score("answer", "#### 4", None) == 0
    assert score("answer", TAGGED, "4") == 1


def test_completions_and_references_must_pair_up():
    with pytest.raises(ValueError, match="shorter"):
        rewards.answer(["a", "b"], ["1"])


def test_integer():
    assert [
        score("integer", text) for text in ("#### 4", "#### $4.00", "#### 4.5", "none at all")
    ] == [
        1,
        1,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("2+2=4.\n#### 4", 1),
        ("2+2=4.\n#### 4\n", 1),
        ("#### 4\nand more", 0),
        ("#### 4\n#### 4", 0),
        ("<answer>4</answer>", 1),
        ("<answer>4</answer> #### no line\n", 0),
        (r"so $\boxed{4}$.", 1),
        (r"\boxed{4} and \boxed{5}", 0),
        ("4", 0),
        ("", 0),
        # A tag that the completion has not opened, and one that is not that of the form.
        ("9 * 2 = 18\n18</answer>", 0.0),
        ("<final_answer>18</final_answer>", 0.0),
    ],
)
def test_format(completion, value):
    assert score("format", completion) == value


def test_paper_formats():
    assert [score("format-strict", text) for text in (TAGGED, ONE_LINE, TAGGED + "x")] == [1, 0, 0]
    assert [score("format-soft", text) for text in (TAGGED, ONE_LINE, "x" + ONE_LINE)] == [1, 1, 0]


def test_tags_count_each_tag_once_and_charge_for_trailing_text():
    assert score("tags", TAGGED) == 1
    assert score("tags", "<reasoning>\na\n</reasoning>\n") == 0.5
    assert score("tags", "<reasoning>\n<reasoning>\n") == 0
    assert score("tags", TAGGED + "x" * 10) == pytest.approx(1 - 0.02)
    assert score("tags", TAGGED + "x" * 5000) == 0


def test_choice():
    assert score("choice", "The answer is (b).", "B") == 1
    assert score("choice", "A", "B") == 0
    assert score("choice", "no idea", "B") == 0
    assert score("choice", "no idea", None) == 0


def test_paper_weights_name_known_rewards_and_sum_to_the_papers_maximum():
    assert PAPER_WEIGHTS.keys() <= REWARDS.keys()
    assert sum(PAPER_WEIGHTS.values()) == 4.0
    assert parse_weights("paper") == PAPER_WEIGHTS


def test_weights_are_parsed():
    assert parse_weights("answer=2, format_strict=0.5,tags") == {
        "answer": 2.0,
        "format-strict": 0.5,
        "tags": 1.0,
    }
    assert parse_weights("my.module=3", also=["my.module"]) == {"my.module": 3.0}


@pytest.mark.parametrize("name", reward_names())
def test_every_name_is_a_reward_of_weight_1(name):
    assert parse_weights(name) == {name: 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anser=2", "did you mean `answer`"),
        ("answer=2,answer=1", "named twice"),
        ("answer=-1", "positive"),
        ("answer=x", "positive"),
        ("answer=nan", "positive"),
        ("answer=inf", "positive"),
        (" , ", "no reward"),
    ],
)
def test_bad_weights_are_usage_errors(text, message):
    with pytest.raises(UsageError, match=message):
        parse_weights(text)
