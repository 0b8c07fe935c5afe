"""MMLU's CSV files: published, of mirrors with a header, and damaged."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.mmlu_csv import read_published

ROW = {"subject": "anatomy", "question": "Bone?", "choices": ["femur", "liver", "eye", "skin"]}


@pytest.fixture
def read(tmp_path):
    """Returns a function from the text of one subject's file to its rows."""

    def call(text, encoding="utf-8"):
        (tmp_path / "test").mkdir(exist_ok=True)
        (tmp_path / "test" / "anatomy_test.csv").write_text(text, encoding=encoding)
        return list(read_published(tmp_path, "test"))

    return call


@pytest.mark.parametrize(
    "text",
    [
        "Bone?,femur,liver,eye,skin,A\n",
        "question,A,B,C,D,answer\nBone?,femur,liver,eye,skin,A\n",
        "input,A,B,C,D,target\r\nBone?,femur,liver,eye,skin,A\r\n",
        ",Question,a,b,c,d,Answer\n0,Bone?,femur,liver,eye,skin,A\n",
        "subject,question,answer,D,C,B,A\nanatomy,Bone?,A,skin,eye,liver,femur\n",
        "question,choice_a,choice_b,choice_c,choice_d,answer\nBone?,femur,liver,eye,skin,A\n",
        "\nBone?,femur,liver,eye,skin,A\n\n",
    ],
)
def test_with_and_without_a_header(read, text):
    assert read(text) == [ROW | {"answer": "A"}]


def test_a_byte_order_mark_is_no_part_of_the_header(read):
    text = "question,A,B,C,D,answer\nBone?,femur,liver,eye,skin,0\n"
    assert read(text, "utf-8-sig") == [ROW | {"answer": "0"}]


def test_a_question_about_questions_is_no_header(read):
    (row,) = read("question,a,b,c,d,A\n")
    assert (row["question"], row["choices"]) == ("question", ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q,w,x,y,z,A\nq,w,x,A\n", r"anatomy_test\.csv:2` has 4 cells, not 6"),
        ('"q\nin two",w,x,y,z,A\n0,q,w,x,y,z,A\n', r":3` has 7 cells, not 6"),
        (",question,A,B,C,D,answer\nq,w,x,y,z,A\n", r":2` has 6 cells, not 7"),
        ("question,A,B,C,answer\nq,w,x,y,A\n", r":1` names no column for the choice D"),
        ("question,A,B,C,D,answer,Answer\n", r":1` names two columns for the answer"),
        ("prompt,A,B,C,D,label\nq,w,x,y,z,A\n", r":1` is not an MMLU question"),
        ("q,w,x,y,z,A\nq,w,x,y,z,Z\n", r":2` is not an MMLU question"),
    ],
)
def test_what_does_not_fit_is_named_with_file_and_line(read, text, message):
    with pytest.raises(LoraparError, match=message):
        read(text)


def test_other_encodings_and_missing_files_are_refused(read, tmp_path):
    with pytest.raises(LoraparError, match="no MMLU files"):
        list(read_published(tmp_path, "test"))
    with pytest.raises(LoraparError, match=r"anatomy_test\.csv` is not a CSV file in UTF-8"):
        read("Où?,w,x,y,z,A\n", "latin-1")
