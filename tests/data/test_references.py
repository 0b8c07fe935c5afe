"""Reference answers: what a completion says, and which of a row's fields win over it."""

import pytest

from lorapar_cli.data.formats import Fields, read_row
from lorapar_cli.data.references import final_answer, given_answers, is_bare
from lorapar_cli.data.rows import BadRow


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Marked.
        ("So 2 + 2 = 4.\n#### 4", "4"),
        ("It is \\boxed{\\frac{3}{4}}.", "\\frac{3}{4}"),
        ("<answer>Lima</answer>", "Lima"),
        # Said last to be the answer.
        ("We have 3 + 4 = 7, not 8. So the answer is 7.", "7"),
        ("Half of 3 is 1.5.\nThe answer is: 1.5", "1.5"),
        ("That makes 18 eggs.\nAnswer: $36", "$36"),
        ("The correct answer is answer3.", None),
        ("The answer is 7 if it rains on 3 days of the week.", None),
        # Nothing but a number or a word, whatever digits are in the word.
        *((word, word) for word in ("H2O", "CO2", "COVID-19", "GPT-4", "2024-05-01", "12:30")),
        *((word, word) for word in ("18", "1,080", "-3.5", "3/4", "Red", "U.S.", "[A-Z][a-z]*")),
        ("Red.", "Red"),
        ("**Red**.", "Red"),
        ('"Red"', "Red"),
        ("`x_1`", "x_1"),
        ("my_list.remove(3)", "my_list.remove(3)"),
        ("median = 17", "17"),
        ("mean = (3+5+10)/3 = 6", "6"),
        # Prose and code, whose last number is not an answer.
        ("The war ended in 1945 with the surrender of Japan.", None),
        ("It has 7 legs, I think.", None),
        ("x = 6 and y = 3", None),
        ("SELECT * FROM people WHERE age = 24", None),
        ("for i in range(3):\n    print(i)", None),
        ("0x1F = 31\n0xFF = 255", None),
        ("A word " * 20, None),
        ("", None),
        # Thoughts are not answers.
        ("<think>Is it 7?</think>Red", "Red"),
        ("Is it 7?</think>\nRed", "Red"),
        ("<think>It must be 7", None),
        ("<thinking>7</thinking>\n\n8", "8"),
        ("<think>\n#### 7\n</think>\nI do not know that, I fear.", None),
        ("<think>\n#### 7\n</think>\n#### 8", "8"),
    ],
)
def test_a_completion_says_its_answer_or_none(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("George Washington", "George Washington"),
        ("12:30 pm", "12:30 pm"),
        ("May 1, 2024", "May 1, 2024"),
        ("15 apples and 3 pears", "15 apples and 3 pears"),
        ("The war ended in 1945.", None),
        ("The war ended in 1945 with the surrender of Japan", None),
        ("He was born in Genoa in 1451.", None),
    ],
)
def test_an_answer_of_its_own_may_be_a_few_words(text, answer):
    assert final_answer(text, is_answer=True) == answer
    (record,) = read_row({"question": "q", "answer": text}, Fields()).records
    assert record.reference_answer == answer
    # As a completion of an instruction the same words are prose.
    (record,) = read_row({"instruction": "q", "output": text}, Fields()).records
    assert record.reference_answer is None


def test_numbers_count_where_the_data_set_says_that_answers_are_numbers():
    row = {"question": "How many eggs are left?", "answer": "14+7=21. 21-8=13 eggs are left."}
    assert read_row(row, Fields()).records[0].reference_answer is None
    assert read_row(row, Fields(format="gsm8k")).records[0].reference_answer == "13"


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (None, []),
        ("", []),
        (" ", []),
        (18, ["18"]),
        (0.5, ["0.5"]),
        ("Lima", ["Lima"]),
        ("So it is 18.\n#### 18", ["18"]),
        (True, ["yes", "true"]),
        (False, ["no", "false"]),
        (["a", "b", "a", None], ["a", "b"]),
        ({"text": ["a", "b"], "answer_start": [1, 2]}, ["a", "b"]),
        ({"value": "a", "aliases": ["b"], "type": "x"}, ["a", "b"]),
        ({"value": "a", "aliases": None}, ["a"]),
    ],
)
def test_a_field_gives_one_or_several_answers(value, accepted):
    assert given_answers(value, "answer") == accepted


@pytest.mark.parametrize("value", [{"a": 1}, [{"a": 1}], float("nan"), b"x"])
def test_a_field_that_gives_no_answer_is_refused(value):
    with pytest.raises(BadRow, match="field `answer` is "):
        given_answers(value, "answer")


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (18, True),
        (True, True),
        (["a"], True),
        ("18", True),
        ("George Washington", True),
        ("Let me think.\n#### 18", False),
        ("\\boxed{3}", False),
        ("First we add both numbers. Then we halve them.", False),
        ("", False),
    ],
)
def test_an_answer_alone_is_distinguished_from_a_worked_one(value, bare):
    assert is_bare(value) == bare


SOLUTIONS = [
    ("question", "answer"),
    ("question", "solution"),
    ("question", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("problem", "solution"),
    ("query", "response"),
    ("prompt", "canonical_solution"),
]
WORKED = "Half of 36 eggs are 18 eggs, and she keeps 3 of those. Then 15 are left, not 12."


GIVEN = ("reference_answer", "answer", "final_answer", "answerKey", "target", "expected_answer")


@pytest.mark.parametrize(
    ("question", "solution", "given"),
    [(*layout, given) for layout in SOLUTIONS for given in GIVEN if given not in layout],
)
def test_a_given_reference_wins_in_every_layout(question, solution, given):
    row = {question: "How many are left?", solution: WORKED, given: "15"}
    (record,) = read_row(row, Fields()).records
    assert (record.prompt, record.completion) == ("How many are left?", WORKED)
    assert record.reference_answer == "15"
    assert record.reference_answers == []


@pytest.mark.parametrize("given", ["answer", "final_answer", "target"])
def test_a_given_reference_wins_in_conversations(given):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": WORKED}]
    (record,) = read_row({"messages": messages, given: 15}, Fields()).records
    assert record.reference_answer == "15"
    (record,) = read_row(
        {"prompt": "q", "chosen": messages, "rejected": [], given: 15}, Fields()
    ).records
    assert record.reference_answer == "15"


def test_a_marked_answer_beside_another_solution_is_the_completion():
    """GSM8K's own answers are worked; a model's response beside them is not the solution."""
    row = {"question": "q", "answer": "3*6=18\n#### 18", "response": "I think it is 20."}
    (record,) = read_row(row, Fields()).records
    assert (record.completion, record.reference_answer) == (row["answer"], "18")
    assert record.extra == {"response": row["response"]}


def test_several_accepted_answers_are_kept():
    row = {"question": "q", "answer": "worked.\n#### 4", "reference_answers": ["4", "four"]}
    (record,) = read_row(row, Fields()).records
    assert (record.reference_answer, record.reference_answers) == ("4", ["4", "four"])
    assert record.accepted_answers == ["4", "four"]
    assert record.extra == {}


def test_the_answer_field_can_be_named():
    row = {
        "question": "q",
        "answer": WORKED,
        "final_answer": "16",
        "gold": "15",
        "golds": ["15", "xv"],
    }
    (record,) = read_row(row, Fields(answer="gold")).records
    assert (record.completion, record.reference_answer) == (WORKED, "15")
    assert record.extra["gold"] == "15"
    (record,) = read_row(row, Fields(answer="golds")).records
    assert record.accepted_answers == ["15", "xv"]
    (record,) = read_row(row | {"gold": None}, Fields(answer="gold")).records
    assert record.reference_answer is None
    with pytest.raises(BadRow, match="field `gold` is missing"):
        read_row({"question": "q", "answer": "a"}, Fields(answer="gold"))
    with pytest.raises(BadRow, match="field `gold` is an object"):
        read_row(row | {"gold": {"a": 1}}, Fields(answer="gold"))


def test_the_named_answer_field_may_be_the_completion_itself():
    row = {"question": "Who?", "answer": "It was Ann who did it, with some help."}
    assert read_row(row, Fields()).records[0].reference_answer is None
    (record,) = read_row(row, Fields(answer="answer")).records
    assert record.reference_answer == row["answer"]


def test_a_row_may_have_nothing_but_the_named_answer():
    row = {"question": "q", "gold": "Lima"}
    (record,) = read_row(row, Fields(answer="gold")).records
    assert (record.prompt, record.completion, record.reference_answer) == ("q", "Lima", "Lima")


@pytest.mark.parametrize("question", ["question", "instruction", "prompt", "problem", "query"])
@pytest.mark.parametrize("given", ["final_answer", "correct_answer", "expected_answer"])
def test_a_question_may_have_nothing_but_its_answer(question, given):
    (record,) = read_row({question: "q", given: "Lima"}, Fields()).records
    assert (record.prompt, record.completion, record.reference_answer) == ("q", "Lima", "Lima")


def test_a_field_that_cannot_be_a_reference_is_named_and_not_used():
    row = {"instruction": "q", "output": "#### 4", "target": {"language": "en"}}
    read = read_row(row, Fields())
    assert read.records[0].reference_answer == "4"
    assert read.unused == {"target"}


def test_an_empty_list_of_answers_is_refused_as_a_completion():
    with pytest.raises(BadRow, match="field `answers` holds no answer"):
        read_row({"context": "c", "question": "q", "answers": {"text": []}}, Fields())
