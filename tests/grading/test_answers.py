"""The extractor on written examples, on every GSM8K answer, and on hostile text."""

import json
import re
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorapar_cli.grading.answers import (
    answers_match,
    extract_answer,
    extract_choice,
    extract_explicit,
    extract_strict,
    normalize_answer,
    parse_number,
    strict_match,
)
from tests.shared_data import SHARED_DATA

# Worked answers in the form of GSM8K's, with everything that its final lines contain.
WORKED_ANSWERS = {
    "Ann has 3*4=<<3*4=12>>12 eggs.\nShe sells 5, so 12-5=<<12-5=7>>7 are left.\n#### 7": "7",
    "A year has 12*90=$<<12*90=1080>>1,080.\n#### 1,080": "1,080",
    "Half of 2,000,000 is <<2000000/2=1000000>>1,000,000.\n#### 1,000,000": "1,000,000",
    "It falls by 8 from 3, to 3-8=<<3-8=-5>>-5 degrees.\n#### -5": "-5",
    "Each pays 5/2=$<<5/2=2.5>>2.50.\n#### 2.5": "2.5",
    "At 9:30 it is 25% of 0.\n#### 0": "0",
    "First 1/2 of 10 is 5.\n\nThen 5+1=<<5+1=6>>6.\n#### 6": "6",
}


@pytest.mark.parametrize(
    ("text", "flexible", "strict"),
    [
        ("3*4=12. 12-5=7.\n#### 7", "7", "7"),
        ("total\n#### 1,080", "1,080", "1,080"),
        ("#### $1,080.50 dollars", "$1,080.50 dollars", None),
        ("#### -5\n\nQuestion: next\n#### 9", "-5", "-5"),
        ("#### Paris", "Paris", None),
        ("####7", "7", None),
        ("So it takes 1 1/2 hours.", "1 1/2 hours", None),
        ("So it takes 1½ hours.", "1 1/2 hours", None),
        ("#### \nso it is 4", "4", None),
        ("so #### 7 is said in the middle", "7", "7"),
        ("<reasoning>\n2+2\n</reasoning>\n<answer>\n4\n</answer>\n", "4", None),
        ("<answer>1</answer> no: <ANSWER>2</ANSWER>", "2", None),
        (r"thus \boxed{\frac{3}{4}} cups of 9", r"\frac{3}{4}", None),
        (r"\boxed{1}, better \boxed{2}", "2", None),
        (r"so \boxed{1 and \boxed{5}", "5", None),
        ("He has 7-3 apples", "7-3", None),
        ("it fell to -3 degrees.", "-3 degrees", None),
        ("it costs $1,200.50.", "$1,200.50", None),
        ("that is 3/4.", "3/4", None),
        ("48/2=24", "24", None),
        ("Paris", "Paris", None),
        ("**Paris.**", "Paris", None),
        ("I do not know", None, None),
        ("", None, None),
    ],
)
def test_both_rules(text, flexible, strict):
    assert extract_answer(text) == flexible
    assert extract_strict(text) == strict


REMARKS = [
    *(" <img src=7 onerror=alert(1)>", " <b>", "<br> on page 7", " <img src=x onerror=alert(7)"),
    *(" <!-- from step 7 -->", "</p><p>as shown on page 7", "&nbsp;see page 7", " (see page 7)"),
    *("(see page 7)", "(as on page 7 of the book)", " and then 7 more", " # from step 7 of it"),
    *(" // from step 7 of it", " *see page 7 of it*", " \u201cas page 7 has it\u201d", " \U0001f389 after 7 steps"),
    *("\U0001f600 after 7 steps", " \u2713 after 7 steps", " -> see step 7 there", " | see page 7 of it"),
    *(' {"steps": 7, "took": "long"}', " :) after 7 long steps", ") as on page 7", "}, page 7 of it"),
    *(r" \n as on page 7", " \u2020 as on page 7", " [page 7 of it](https://example.org/7)", " ~~7 is it~~"),
]  # fmt: skip


@pytest.mark.parametrize("remark", REMARKS)
@pytest.mark.parametrize("form", ["#### 5", "<answer>5", r"\boxed{5}", "#### $5"])
def test_the_answer_is_the_number_behind_the_mark_not_one_of_a_remark(form, remark):
    text = f"First 3*4=12.\n{form}{remark}"
    assert answers_match(extract_answer(text), "5"), text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### <b>5</b> of 7", "5"),
        ("#### [5](https://example.org/7)", "5"),
        ("#### ~~7~~ 5", "5"),
        ("#### 10<sup>3</sup>", "1000"),
        ("#### 25 cm<sup>2</sup>", "25 cm^2"),
        ("#### 5(x+1)", "5(x+1)"),
        ("#### 5(sin x)", "5(sin x)"),
        ("#### 5 + 7 apples are 12 apples", "12"),
        ("#### 5 | 7", "5 | 7"),
        ("The answer is <b>", "<b>"),
        ("<h1>", "<h1>"),
    ],
)
def test_markup_stays_where_it_is_the_answer(text, answer):
    assert answers_match(extract_answer(text), answer)


def test_explicit_takes_no_stray_number():
    assert extract_explicit("born in 1879 in Ulm") is None
    assert extract_explicit("2+2\n#### 4") == "4"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,080", "1080"),
        ("$1,080.00", "1080"),
        ("60,000", "60000"),
        ("1,00,000", "100000"),
        ("1\u202f080", "1080"),
        ("50%", "50"),
        (r"50\%", "50"),
        ("3/4", "0.75"),
        ("6/8", ".75"),
        ("1 1/2", "1.5"),
        ("1½", "1.5"),
        ("¾ cup", "0.75"),
        (r"1\frac{1}{2}", "1.5"),
        (r"-2\frac12", "-2.5"),
        (r"1{,}080", "1080"),
        (r"\$1\,080\,000", "1080000"),
        (r"18 \mathrm{~cm}^2", "18"),
        (r"1.8 \times 10^{3}", "1800"),
        (r"\frac{3}{4}", "0.75"),
        (r"-\dfrac{1}{2}", "-0.5"),
        ("18 dollars", "18"),
        ("18 dollars per hour", "$18"),
        ("-$5", "-5"),
        ("$-5", "\u22125"),
        ("+5", "5"),
        ("5.", "5"),
        ("5.0", "5"),
        ("-0", "0"),
        ("5 km/h", "5"),
        ("5/hour", "5"),
        ("5 m^2", "5 m²"),
        ("90°", "90"),
        (r"90^\circ", "90"),
        ("3/4 cup", "0.75"),
        ("1e3", "1000"),
        ("€3.50", "3.5"),
        ("3.5 €", "3.5"),
        ("20 USD", "20"),
        ("x = 5", "5"),
        ("(5)", "5"),
        ("$2.5 million", "2500000"),
        ("3 thousand dollars", "3,000"),
        ("The answer is 42.", "42"),
        ("Answer: 42", "42"),
        ("**12**", "12"),
        ("$12$", "12"),
        (r"\(12\)", "12"),
        (r"12 \text{ cm}", "12"),
        ("Paris", "paris."),
        (r"\text{Paris}", "PARIS"),
        ("new  york", "New York"),
    ],
)
def test_equal_answers(one, other):
    assert answers_match(one, other)
    assert answers_match(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "-5"),
        ("5^2", "5"),
        ("5²", "5"),
        ("1½", "1"),
        (r"1\frac{1}{2}", "11/2"),
        ("5", "50"),
        ("1,080", "1"),
        ("10,20", "1020"),
        ("1,08", "108"),
        ("5:30", "530"),
        ("5 and 3", "5"),
        ("5 apples and 3 pears", "5"),
        ("1/0", "1"),
        ("12", "1 2"),
        ("0.33", "1/3"),
        ("5 million", "5"),
        ("1 or 2", "1"),
        ("5-3", "5"),
        ("--5", "5"),
        ("x >= 5", "5"),
        ("yes", "no"),
        ("", "0"),
        ("1e999999999", "1"),
    ],
)
def test_different_answers(one, other):
    assert not answers_match(one, other)
    assert not answers_match(other, one)


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("It weighs 2.5 kg (2500 g).", ["2.5", "2500", "2.5 kg"], ["25"]),
        ("It takes 2 hours, or 120 minutes.", ["2", "120"], ["3"]),
        ("It weighs 2.5 kg (2 bags).", ["2.5"], ["2"]),
        ("So she has 12 apples (3 a day).", ["12"], ["3"]),
        ("She has $20 left after buying 3 books at $10 each.", ["20"], ["10"]),
        ("She had $50 left after that, so she bought 3 more.", ["3"], ["50"]),
        ("The answer is 18 dollars and not 20 dollars.", ["18"], ["20"]),
        ("The answer is 18 minus 3, which is 15.", ["15"], ["18", "3"]),
        ("The answer is 18 minus 3.", [], ["18", "3"]),
        ("5 to 7 days", ["5-7", "5 to 7"], ["5", "7", "7-5", "5 to 7 weeks"]),
        ("x = 15 or x = 20", ["15, 20"], ["15", "20"]),
        (r"\boxed{\frac{3}{-4}}", ["-3/4"], ["3/4"]),
        (r"\boxed{2\sqrt2}", [r"2\sqrt{2}"], ["2"]),
        (r"\boxed{x^{2} + 1}", ["x^2+1"], ["x^3+1"]),
        ("The statement is true.", ["True"], ["False"]),
        ("The statement is not true.", [], ["True"]),
        ("It will be a Wednesday.", ["Wednesday"], ["Tuesday"]),
        ("✅ 18", ["18"], ["8"]),
        ("Answer → 18", ["18"], []),
        ("=> 18", ["18"], []),
        ("∴ 18", ["18"], []),
        ("Ans. 18", ["18"], []),
        ("In 1776.", ["1776"], []),
        ("The answer is <18>", ["18"], []),
        ("9 * 2 = 18\n18</answer>", ["18"], ["9"]),
        ("<final_answer>18</final_answer>", ["18"], []),
        ("{'answer': 42}", ["42"], []),
        ("정답은 42입니다.", ["42"], []),
    ],
)
def test_what_sentences_say_to_be_the_answer(text, right, wrong):
    found = extract_answer(text)
    assert [each for each in right if not answers_match(found, each)] == []
    assert [each for each in wrong if answers_match(found, each)] == []


def test_none_matches_nothing():
    assert not answers_match(None, "5")
    assert not answers_match("5", None)
    assert not answers_match(None, None)
    assert not strict_match(None, "#### 5")


def check_worked_answer(answer, gold):
    """Checks that both rules find the final line of a worked answer, and its exact value."""
    assert extract_answer(answer) == extract_explicit(answer) == gold
    assert strict_match(extract_strict(answer), answer)
    assert answers_match(gold, answer)
    assert parse_number(gold) == Fraction(gold.replace(",", "").replace("$", ""))


# What models write after the number, and after the line.
TAILS = [
    *(
        "",
        ".",
        "\n",
        " dollars",
        "</s>",
        "<|im_end|>\n",
        " eggs per day",
        " (in total)",
        " %",
        "\n\n",
    ),
    *(". That is all.", ", as computed above", "<|endoftext|>#### 3", "\n\nQuestion: 2+3?\n#### 5"),
    *("\n\nQ: 2+3?\nA: The answer is 5.", "\n#### 5", "\n\nHuman: Thanks! 7 more?", "**"),
    *(" = 2 * x", "\nThe answer is 5 if it rains."),
]


def check_tails(answer, gold):
    """Checks that flexible finds right whatever strict finds right, with every tail."""
    worked = answer.rpartition("####")[0]
    for tail in TAILS:
        text = f"{worked}#### {gold}{tail}"
        if strict_match(extract_strict(text), gold):
            assert answers_match(extract_answer(text), gold), text
    right = [strict_match(extract_strict(f"{worked}#### {gold}{tail}"), gold) for tail in TAILS]
    assert sum(right) >= 18


@pytest.mark.parametrize("answer", WORKED_ANSWERS)
def test_worked_answers(answer):
    check_worked_answer(answer, WORKED_ANSWERS[answer])
    check_tails(answer, WORKED_ANSWERS[answer])


def gsm8k_answers(name):
    """Returns the worked answers of a file of GSM8K, each with its gold."""
    lines = (SHARED_DATA / "gsm8k" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    return [(answer, answer.rpartition("#### ")[2].strip()) for answer in answers]


@pytest.mark.shared_data("gsm8k")
@pytest.mark.parametrize(("name", "rows", "with_comma"), [("train", 7473, 79), ("test", 1319, 14)])
def test_every_gsm8k_answer(name, rows, with_comma):
    answers = gsm8k_answers(name)
    assert len(answers) == rows
    assert sum("," in gold for _, gold in answers) == with_comma
    for answer, gold in answers:
        check_worked_answer(answer, gold)


@pytest.mark.slow
@pytest.mark.shared_data("gsm8k")
@pytest.mark.parametrize("name", ["train", "test"])
def test_every_gsm8k_answer_with_tails(name):
    for answer, gold in gsm8k_answers(name):
        check_tails(answer, gold)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("B. because", "B"),
        ("The answer is (d).", "D"),
        ("Answer: A", "A"),
        ("<answer>c</answer>", "C"),
        ("A long text that names nothing", None),
        ("#### 7", None),
    ],
)
def test_choice(text, letter):
    assert extract_choice(text) == letter


@settings(deadline=None)
@given(st.text(alphabet="#$,. 1a\nB", max_size=60), st.text(alphabet="#$,. 1a\nB", max_size=60))
def test_strict_compares_as_the_patterns_of_the_harness(found, reference):
    def harness(text):
        for ignored in (",", r"\$", "(?s).*#### ", r"\.$"):
            text = re.sub(ignored, "", text)
        return text.lower()

    assert strict_match(found, reference) == (harness(found) == harness(reference))


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_any_whole_number_survives_formatting(number):
    for text in (
        f"{number}",
        f"{number:,}",
        f"#### {number:,}",
        f"so it is {number:,}.",
        f"{number}.00",
    ):
        assert answers_match(extract_answer(text), str(number)), text


@settings(deadline=None)
@given(st.fractions(max_denominator=1000), st.sampled_from(["", " apples", "%", " km/h"]))
def test_fractions_are_exact(value, unit):
    assert parse_number(f"{value}{unit}") == value


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_without_error(text):
    found = extract_answer(text)
    assert found is None or found
    normalize_answer(text)
    extract_choice(text)
    assert answers_match(text, text)


TOKENS = [
    *("1", "a", " ", "\n", "#", "$", "{", "}", "(", "<", "-", "=", "*", "_", "~", "'", "½", "²", "か"),
    *("1,", "1.", "1 ", "1/", "1'", "- ", "= ", "(1,", "B ", "B) ", "(B) ", "**", "$1", "$a$", "{}"),
    *("#### ", "#### 1\n", "#### x\n", "\\boxed{", "\\boxed{1}", "\\frac{", "\\frac{1}{2}", "\\text{"),
    *("<answer>", "</answer>", "<think>", "</think>", "<|a|>", "<<", "answer ", "answer: ", "\\ "),
    *("the answer is 1 ", "the answer is not ", "1 or ", "one ", "and ", "hundred ", "1 hour ", "so "),
    *("<b>", "<b ", "1<b>", "<!--", "<sup>", "&nbsp;", "[1](", "[1](/", "~~1", "1(ab ", "1 <br>"),
    *("x = ", "\nQ: 1", "Question: ", "between ", "not ", "1×10^", "1:30 ", "2024-", "option B ", "A and "),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("token", [*TOKENS, *map("".join, pairwise(TOKENS))])
def test_time_grows_with_the_length_only(token):
    """Eight times the text may take some eight times as long; a square would be sixty-four."""

    def seconds(length):
        text = token * (length // len(token))
        started = time.process_time()
        for read in (extract_answer, extract_choice, normalize_answer, extract_explicit):
            read(text)
        strict_match("18", text)
        answers_match("18", text)
        return time.process_time() - started

    seconds(1000)
    short = min(seconds(125_000) for _ in range(2))
    assert seconds(1_000_000) < 24 * short + 0.5


@pytest.mark.parametrize(
    "text",
    [
        "1," * 20000,
        "1" + " " * 20000 + "!",
        "- " + " \n" * 20000 + "x",
        "1" + r"\ " * 20000 + "!",
        "USD" * 20000,
        "5 " + "a" * 50000 + "!",
        r"\boxed{" * 2000,
        "#### x" + " " * 50000 + "y",
        "<answer>" * 5000,
        "answer " * 10000,
        "1" * 4000 + "/" + "7" * 4000,
        "1" * 9000,
        "1e" + "9" * 9000,
        "<" * 50000,
        "{}" * 50000 + r"\boxed",
        "= " * 20000,
        "1 " * 20000 + "/3",
        "(" * 50000,
        "-" * 50000,
    ],
)
def test_long_hostile_text_takes_no_time(text):
    started = time.perf_counter()
    normalize_answer(text)
    extract_answer(text)
    extract_choice(text)
    assert time.perf_counter() - started < 2
