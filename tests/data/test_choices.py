"""Options: every place they stand in, and which of them an answer names."""

import json

import pytest

from lorapar_cli.data.choices import LETTERS, Choices, take_choices
from lorapar_cli.data.formats import Fields, read_row
from lorapar_cli.data.rows import BadRow, RowReader

TEXTS = ["light", "noise", "dust"]


def choices_of(row):
    reader = RowReader(row)
    return take_choices(reader), reader.used


@pytest.mark.parametrize(
    ("row", "used"),
    [
        ({"choices": TEXTS}, {"choices"}),
        ({"options": TEXTS}, {"options"}),
        ({"choices": json.dumps(TEXTS)}, {"choices"}),
        ({"choices": {"text": TEXTS, "label": ["A", "B", "C"]}}, {"choices"}),
        (
            {"choices": [{"text": text, "label": "ABC"[i]} for i, text in enumerate(TEXTS)]},
            {"choices"},
        ),
        (
            {"options": [{"key": "ABC"[i], "value": text} for i, text in enumerate(TEXTS)]},
            {"options"},
        ),
        ({"options": dict(zip("ABC", TEXTS, strict=True)) | {"D": None}}, {"options"}),
        ({"opa": "light", "opb": "noise", "opc": "dust", "opd": None}, {"opa", "opb", "opc"}),
        ({"A": "light", "B": "noise", "C": "dust", "D": ""}, {"A", "B", "C"}),
        ({"options": ["A)light", "B)noise", "C)dust"]}, {"options"}),
        ({"options": ["(A) light", "(B) noise", "(C) dust"]}, {"options"}),
        ({"options": ["a. light", "b. noise", "c. dust"]}, {"options"}),
        ({"options": [], "choices": TEXTS}, {"choices"}),
    ],
)
def test_options_are_found_wherever_they_stand(row, used):
    found, taken = choices_of(row)
    assert found.lines() == "A. light\nB. noise\nC. dust"
    assert taken == used


def test_options_may_be_nested_in_the_question():
    nested = {
        "stem": "q",
        "choices": [{"text": "light", "label": "1"}, {"text": "dust", "label": "2"}],
    }
    for question in (nested, json.dumps(nested)):
        row = {"question": question, "answerKey": "2"}
        (record,) = read_row(row, Fields()).records
        assert (record.prompt, record.completion) == ("q\nA. light\nB. dust\nAnswer:", "B")


@pytest.mark.parametrize("row", [{}, {"choices": None}, {"choices": []}, {"A": "x"}, {"opa": "x"}])
def test_a_row_without_options(row):
    assert choices_of(row)[0] is None


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("a, b", "text but not a JSON list"),
        (["a"], "not a list of 2 to 26 answers"),
        ([str(i) for i in range(27)], "not a list of 2 to 26 answers"),
        (7, "is a number, not a list of answers"),
        (["a", None], "an answer that is null"),
        (["a", ["b"]], "an answer that is a list"),
        ([{"text": "a"}, {"label": "B"}], "an answer without a `text`"),
        ({"text": ["a", "b"], "label": ["A"]}, "2 answers, but not as many labels"),
        ([{"text": "a", "label": "A"}, {"text": "b"}], "2 answers, but not as many labels"),
    ],
)
def test_options_that_cannot_be_read(options, found):
    with pytest.raises(BadRow, match=found):
        choices_of({"options": options})


def test_a_hole_between_columns_is_refused():
    with pytest.raises(BadRow, match="`opa` has an answer that is null"):
        choices_of({"opa": "x", "opb": "y", "opc": None, "opd": "z"})


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *((1, "B"), (1.0, "B"), ("1", "B"), ("1.0", "B")),
        *(
            ("b", "B"),
            (" B ", "B"),
            ("(B)", "B"),
            ("B.", "B"),
            ("B) noise", "B"),
            ("b: Noise", "B"),
        ),
        *(("noise", "B"), (" NOISE", "B"), (["noise"], "B"), (["B"], "B")),
    ],
)
def test_an_answer_is_an_index_a_letter_or_the_text(answer, letter):
    assert Choices(TEXTS, []).letter(answer, "answer") == letter


@pytest.mark.parametrize(
    "answer", ["D", 3, -1, "3", "", "light noise", "B) dust", None, True, {"a": 1}, ["A", "B"], 0.5]
)
def test_an_answer_that_is_not_among_the_options_is_refused(answer):
    with pytest.raises(BadRow, match="not one of 3 choices"):
        Choices(TEXTS, []).letter(answer, "answer")


@pytest.mark.parametrize(
    ("texts", "answer", "letters"),
    [
        (["1", "2", "3", "4"], "2", "B or C"),
        (["O", "A", "B", "AB"], "A", "A or B"),
        (["yes", "no", "Yes"], "yes", "A or C"),
    ],
)
def test_an_answer_that_may_mean_two_options_is_refused(texts, answer, letters):
    with pytest.raises(BadRow, match=f"may mean choice {letters}"):
        Choices(texts, []).letter(answer, "answer")


def test_a_text_that_agrees_with_its_index_is_not_ambiguous():
    assert Choices(["0", "1", "2"], []).letter("2", "answer") == "C"
    assert Choices(["A", "B", "AB"], []).letter("B", "answer") == "B"


def test_a_number_is_an_index_as_mmlu_publishes_it():
    assert Choices(["1", "2", "3", "4"], []).letter(2, "answer") == "C"


def test_a_key_is_one_of_the_labels_whatever_the_texts_are():
    blood = Choices(["O", "A", "B"], ["A", "B", "C"])
    assert blood.letter("A", "answerKey", is_key=True) == "A"
    with pytest.raises(BadRow, match="may mean choice A or B"):
        blood.letter("A", "answer")
    numbered = Choices(["0", "1"], ["1", "2"])
    assert numbered.letter("1", "answerKey", is_key=True) == "A"
    assert numbered.letter(2, "answerKey", is_key=True) == "B"
    with pytest.raises(BadRow, match="not one of 2"):
        Choices(["x", "y"], ["A", "B"]).letter("1", "answerKey", is_key=True)


def test_a_prompt_that_lists_the_options_is_not_given_them_twice():
    prompt = "Which is seen?\nA) light\nB) noise\nC) dust"
    row = {"prompt": prompt, "choices": TEXTS, "answer": "light"}
    (record,) = read_row(row, Fields()).records
    assert (record.prompt, record.completion, record.reference_answer) == (prompt, "A", "A")


@pytest.mark.parametrize(
    ("question", "completion"),
    [
        ("prompt", "completion"),
        ("instruction", "output"),
        ("query", "response"),
        ("input", "output"),
    ],
)
@pytest.mark.parametrize("right", ["B", "noise", "\\boxed{B}", "#### noise"])
def test_options_belong_to_the_question_in_every_layout(question, completion, right):
    row = {question: "Which is heard?", "options": TEXTS, completion: right}
    (record,) = read_row(row, Fields()).records
    assert record.prompt.startswith("Which is heard?\nA. light\nB. noise\nC. dust")
    assert record.reference_answer == "B"
    if "\\" not in right and "#" not in right:
        assert record.completion == "B"
        assert record.prompt.endswith("\nAnswer:")
    else:
        assert record.completion == right


def test_an_explanation_is_kept_and_answered_by_its_key():
    row = {
        "question": "Which is heard?",
        "choices": TEXTS,
        "solution": "Ears hear.",
        "answer": "noise",
    }
    (record,) = read_row(row, Fields()).records
    assert (record.completion, record.reference_answer) == ("Ears hear.", "B")
    assert record.prompt == "Which is heard?\nA. light\nB. noise\nC. dust"


@pytest.mark.parametrize(
    "answer", ["Ears hear.\n#### B", "Ears hear. \\boxed{noise}", "Ears hear. \\boxed{(B)}"]
)
def test_a_worked_answer_is_kept_and_its_option_is_the_reference(answer):
    row = {"question": "Which is heard?", "choices": TEXTS, "answer": answer}
    (record,) = read_row(row, Fields()).records
    assert (record.completion, record.reference_answer) == (answer, "B")
    assert not record.prompt.endswith("Answer:")


@pytest.mark.parametrize("answer", ["#### F", "The answer is (E).", "I like dust, a lot."])
def test_a_worked_answer_that_names_no_option_is_refused(answer):
    row = {"question": "Which is heard?", "choices": TEXTS, "answer": answer}
    with pytest.raises(BadRow, match="not one of 3 choices"):
        read_row(row, Fields())


def test_any_number_of_options_has_letters():
    texts = [f"t{i}" for i in range(26)]
    assert Choices(texts, []).letter(25, "answer") == "Z"
    assert len(LETTERS) == 26
