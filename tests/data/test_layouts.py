"""Small files of every public layout, each with what a person makes of it; the page says the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.data.layouts import LAYOUTS, recognise
from lorapar_cli.data.readers import open_source
from lorapar_cli.data.rows import BadRow, RowReader
from lorapar_cli.store.records import read_jsonl

FOLDER = Path(__file__).parent / "layouts"
ROOT = Path(__file__).parents[2]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def calling(**call):
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", **call}]}


ANSWERED_CALL = {"role": "tool", "content": "12:30"}

# Layout -> for each row: prompt, completion, accepted answers.
EXPECTED = {
    "alpaca": [
        ("Sort these numbers.\n\n3, 1, 2", "1, 2, 3", []),
        ("Which gas do plants take in?", "CO2", ["CO2"]),
    ],
    "alpaca-answer": [
        (
            "Please answer with true or false, question: is the sea salty?",
            "the correct answer is true",
            ["true"],
        )
    ],
    "alpaca-history": [
        (
            [
                system("You are a geographer."),
                user("What is the capital of Peru?"),
                assistant("Lima"),
                user("And of Chile?"),
            ],
            "Santiago",
            ["Santiago"],
        )
    ],
    "aqua": [
        (
            "A train covers 60 km in 2 hours. What is its speed in km/h?\nA. 20\nB. 30\nC. 40",
            "Speed = 60/2 = 30.\nThe answer is B.",
            ["B"],
        )
    ],
    "arc": [
        ("Which of these melts first?\nA. iron\nB. ice\nC. gold\nAnswer:", "B", ["B"]),
        ("Which of these is a mammal?\nA. trout\nB. whale\nAnswer:", "B", ["B"]),
    ],
    "arc-nested": [("Which of these melts first?\nA. iron\nB. ice\nAnswer:", "B", ["B"])],
    "bbh": [
        ("not ( True ) and ( True ) is", "False", ["False"]),
        ("Which is the oldest?\nOptions:\n(A) The oak\n(B) The elm", "(A)", ["(A)"]),
    ],
    "boolq": [
        (
            "Sea water contains about 35 g of salt per litre.\n\nis the sea salty",
            "yes",
            ["yes", "true"],
        )
    ],
    "commonsenseqa": [
        ("Where would you keep milk?\nA. oven\nB. fridge\nC. drawer\nAnswer:", "B", ["B"])
    ],
    "dolly": [
        (
            "When did the bridge open?\n\nThe bridge was begun in 1901 and opened in 1904.",
            "The bridge opened in 1904.",
            [],
        )
    ],
    "gsm8k": [
        (
            "A crate holds 12 jars. How many jars do 3 crates hold?",
            "3 crates hold 3*12=<<3*12=36>>36 jars.\n#### 36",
            ["36"],
        )
    ],
    "humaneval": [
        (
            'def double(n: int) -> int:\n    """Returns twice n."""\n',
            "    return 2 * n\n",
            [],
        )
    ],
    "kto": [("Name a primary colour.", "Red", ["Red"])],
    "math": [
        ("Compute $3 \\cdot 4$.", "We have $3 \\cdot 4 = \\boxed{12}$.", ["12"]),
    ],
    "mbpp": [
        (
            "Write a function that doubles a number.\n\nYour code should pass these tests:\n\n"
            "assert double(2) == 4\nassert double(0) == 0",
            "def double(n):\n    return 2 * n",
            [],
        )
    ],
    "medmcqa": [
        (
            "Which organ makes insulin?\nA. Liver\nB. Pancreas\nC. Spleen\nD. Kidney\nAnswer:",
            "B",
            ["B"],
        )
    ],
    "medqa": [
        (
            "Which vitamin prevents scurvy?\nA. Vitamin A\nB. Vitamin B12\nC. Vitamin C\nAnswer:",
            "C",
            ["C"],
        )
    ],
    "messages": [
        (
            [system("Be brief."), user("2+2?"), assistant("4"), user("And 3+3?")],
            "6",
            ["6"],
        )
    ],
    "messages-tools": [
        (
            [
                user("What time is it in Lima?"),
                calling(
                    id="call_1",
                    function={"name": "get_time", "arguments": '{"city": "Lima"}'},
                ),
                ANSWERED_CALL | {"tool_call_id": "call_1"},
            ],
            "It is 12:30 in Lima.",
            [],
        )
    ],
    "messages-weight": [("2+2?", "4", ["4"])],
    "metamath": [
        (
            "Half of 16 is what?",
            "Half of 16 is 16/2 = 8.\n#### 8\nThe answer is: 8",
            ["8"],
        )
    ],
    "mmlu": [("What is 2 + 3?\nA. 4\nB. 5\nC. 6\nD. 7\nAnswer:", "B", ["B"])],
    "mmlu-columns": [("What is 2 + 3?\nA. 4\nB. 5\nC. 6\nD. 7\nAnswer:", "B", ["B"])],
    "nq-open": [
        (
            "who wrote the play hamlet",
            "William Shakespeare",
            ["William Shakespeare", "Shakespeare"],
        )
    ],
    "numina": [
        (
            "Find the roots of $x^2 = 2x$.",
            "Factor: $x(x - 2) = 0$, so $x = 0$ or $x = 2$.",
            ["0, 2"],
        )
    ],
    "openbookqa": [("What does a plant need to grow?\nA. light\nB. noise\nAnswer:", "A", ["A"])],
    "openorca": [
        (
            [system("You are a helpful assistant."), user("Translate to German: dog")],
            "Hund",
            ["Hund"],
        )
    ],
    "preference": [("Name a primary colour.", "Red", ["Red"])],
    "preference-messages": [("Name a primary colour.", "Red", ["Red"])],
    "preference-system": [
        ([system("Be brief."), user("Name a primary colour.")], "Red", ["Red"]),
    ],
    "prompt-answer": [("What is the chemical formula of water?", "H2O", ["H2O"])],
    "prompt-completion": [
        ("Name the largest ocean.", "The largest ocean is the Pacific.", ["Pacific"])
    ],
    "race": [
        (
            "Ann missed the bus and walked to school.\n\nHow did Ann get to school?\n"
            "A. By bus\nB. On foot\nAnswer:",
            "B",
            ["B"],
        )
    ],
    "sharegpt": [
        (
            [system("Be brief."), user("2+2?"), assistant("4"), user("And 3+3?")],
            "6",
            ["6"],
        )
    ],
    "sharegpt-tools": [
        (
            [
                user("What time is it in Lima?"),
                calling(function={"name": "get_time", "arguments": {"city": "Lima"}}),
                ANSWERED_CALL,
            ],
            "12:30",
            ["12:30"],
        )
    ],
    "squad": [
        (
            "The bridge was begun in 1901 and opened in May 1904.\n\nWhen did the bridge open?",
            "May 1904",
            ["May 1904", "1904"],
        )
    ],
    "triviaqa": [
        (
            "Which planet is known as the red planet?",
            "Mars",
            ["Mars", "Mars (planet)", "Planet Mars"],
        )
    ],
}


def test_every_file_has_an_expectation():
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_says_what_a_person_reads(name):
    source = open_source(str(FOLDER / f"{name}.jsonl"))
    read = [(r.prompt, r.completion, r.accepted_answers) for r in source.records()]
    assert read == EXPECTED[name]
    assert not source.unused


def rows_of(name):
    return [row for _, row in read_jsonl(FOLDER / f"{name}.jsonl")]


def test_every_layout_is_that_of_a_file():
    rows = [row for name in EXPECTED for row in rows_of(name)]
    assert {recognise(RowReader(row)).name for row in rows} == set(LAYOUTS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_without_one_of_its_fields_says_which(name):
    """Whatever field the layout needs, the row without it is refused, or read by another layout."""
    for row in rows_of(name):
        layout = recognise(RowReader(row))
        for field in row:
            for broken, found in (
                ({key: value for key, value in row.items() if key != field}, "is missing"),
                (row | {field: None}, "is null"),
            ):
                reader = RowReader(broken)
                if layout.fits(reader):
                    continue
                with pytest.raises(BadRow, match=rf"field `\w+` {found}"):
                    layout.require(reader)


def test_the_table_of_the_documentation_is_current():
    made = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_layouts.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made.count("\n") > len(EXPECTED)
    assert made in (ROOT / "docs" / "reference" / "data.md").read_text(encoding="utf-8"), (
        "run `make docs`"
    )
