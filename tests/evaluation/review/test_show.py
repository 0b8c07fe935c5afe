"""Which samples are shown, and what is said of each."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.review.read import read_evaluation
from lorapar_cli.evaluation.review.show import (
    Choice,
    choose_samples,
    explain,
    question_text,
    shorten,
)
from tests.evaluation.review.finished import sample, write_evaluation


@pytest.fixture
def evaluation(tmp_path):
    samples = [
        sample(n, n % 2 == 0, model, system=f"system{1 + n // 3}")
        for model in ("base", "sft")
        for n in range(6)
    ]
    return read_evaluation(write_evaluation(tmp_path / "e", samples))


def places(samples):
    return [(each["model"], each["id"]) for each in samples]


def test_so_many_wrong_and_right_ones_of_each_model(evaluation):
    chosen = choose_samples(evaluation, Choice(wrong=2, right=1))
    assert places(chosen) == [
        *(("base", "0"), ("base", "1"), ("base", "3")),
        *(("sft", "0"), ("sft", "1"), ("sft", "3")),
    ]


def test_by_model_system_and_id(evaluation):
    of_sft = Choice(wrong=9, right=0, models=["sft"], systems=["system2"])
    assert places(choose_samples(evaluation, of_sft)) == [("sft", "3"), ("sft", "5")]
    by_id = choose_samples(evaluation, Choice(None, None, ids=["4"]))
    assert places(by_id) == [("base", "4"), ("sft", "4")]


def test_unknown_names_are_refused(evaluation):
    with pytest.raises(UsageError, match="`stf` was not evaluated, did you mean `sft`"):
        choose_samples(evaluation, Choice(1, 0, models=["stf"]))
    with pytest.raises(LoraparError, match="no record has the id `99`"):
        choose_samples(evaluation, Choice(1, 0, ids=["99"]))
    with pytest.raises(LoraparError, match="no record has the system `system3`"):
        choose_samples(evaluation, Choice(1, 0, systems=["system3"]))


@pytest.mark.parametrize(
    ("match", "more", "said"),
    [
        ("answer", {}, "the extracted answer is not an accepted one"),
        ("answer", {"correct": True}, "the extracted answer is an accepted one"),
        (
            "answer",
            {"extracted": None, "finished": False, "tokens": 1_000},
            "no answer was found; truncated at 1,000 tokens",
        ),
        ("code", {"reason": "AssertionError: 4"}, "assertion: AssertionError: 4"),
        ("code", {"reason": "", "correct": True}, "the program passes its tests"),
        (
            "likelihood",
            {"scores": [-1.5, -0.25]},
            "the likeliest choice is not the reference; log-likelihoods: -1.500, -0.250",
        ),
    ],
)
def test_why(tmp_path, match, more, said):
    one = sample(1, False) | more
    folder = write_evaluation(tmp_path / "e", [one], match=match)
    assert explain(one, read_evaluation(folder)) == said


def test_where_the_rules_disagree_it_is_said(tmp_path):
    one = sample(1, True, correct_strict=False, extracted_strict=None)
    found = read_evaluation(write_evaluation(tmp_path / "e", [one], task="gsm8k"))
    assert explain(one, found).endswith("by the strict rule wrong (no answer)")


def test_long_texts_lose_their_middle_and_say_so():
    assert shorten("abcdef", 3, 3) == shorten("abcdef", 9, 0)
    short = shorten("begin" + "x" * 1_500 + "end", 5, 3)
    assert short.text == "begin\n[... 1,500 characters left out ...]\nend"
    assert short.left_out == 1_500


def test_a_chat_is_shown_turn_by_turn():
    turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "1+1?"}]
    assert question_text(turns) == "[system] Be brief\n[user] 1+1?"
