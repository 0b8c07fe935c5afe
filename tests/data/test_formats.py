"""Every format: which fields become prompt, completion, answer and id, and which rows are bad."""

import json

import pytest

from lorapar_cli.data import formats
from lorapar_cli.data.formats import Fields, content_digest, empty_side, source_label
from lorapar_cli.data.rows import BadRow
from lorapar_cli.store.records import Record


def read_row(row: dict, fields: Fields) -> Record:
    """Returns the only record of a row."""
    (record,) = formats.read_row(row, fields).records
    return record


ROWS = {
    "gsm8k": (
        {"question": "How much?", "answer": "500*2=<<500*2=1000>>1,000\n#### 1,000"},
        ("How much?", "500*2=<<500*2=1000>>1,000\n#### 1,000", "1,000"),
    ),
    "alpaca": (
        {"instruction": "Sort this.", "input": "3, 1, 2", "output": "1, 2, 3"},
        ("Sort this.\n\n3, 1, 2", "1, 2, 3", None),
    ),
    "alpaca without input": (
        {"instruction": "Name a colour.", "input": "", "output": "Red"},
        ("Name a colour.", "Red", "Red"),
    ),
    "platypus": (
        {"input": "", "output": "So \\boxed{4}.", "instruction": "2+2?", "data_source": "MATH"},
        ("2+2?", "So \\boxed{4}.", "4"),
    ),
    "dolly": (
        {"instruction": "Who?", "context": "Ann sang.", "response": "Ann", "category": "qa"},
        ("Who?\n\nAnn sang.", "Ann", "Ann"),
    ),
    "mmlu with an index": (
        {"subject": "art", "question": "Which?", "choices": ["x", "y", "z"], "answer": 1},
        ("Which?\nA. x\nB. y\nC. z\nAnswer:", "B", "B"),
    ),
    "mmlu with a letter": (
        {"question": "Which?", "choices": ["x", "y"], "answer": "a"},
        ("Which?\nA. x\nB. y\nAnswer:", "A", "A"),
    ),
    "prompt and completion": (
        {"prompt": "Say 3.", "completion": "There are 3 of the 5.", "reference_answer": "3"},
        ("Say 3.", "There are 3 of the 5.", "3"),
    ),
    "prose has no final answer": (
        {"prompt": "Tell me.", "completion": "It has 7 legs, I think."},
        ("Tell me.", "It has 7 legs, I think.", None),
    ),
    "humaneval": (
        {"task_id": "t/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n"},
        ("def f():\n", "    return 1\n", None),
    ),
    "one message": (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]},
        ("Hi", "Yo", "Yo"),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_fields_are_recognised(name):
    row, (prompt, completion, reference) = ROWS[name]
    record = read_row(row, Fields())
    assert (record.prompt, record.completion) == (prompt, completion)
    assert record.reference_answer == reference


def test_a_fixed_format_overrides_the_fields_of_a_row():
    row = {"question": "Which?", "choices": ["x", "y"], "answer": "1"}
    assert read_row(row, Fields()).prompt == "Which?\nA. x\nB. y\nAnswer:"
    record = read_row(row, Fields(format="gsm8k"))
    assert (record.prompt, record.completion) == ("Which?", "1")
    assert record.extra == {"choices": ["x", "y"]}


def test_longer_conversations_keep_their_messages():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "#### 4"},
    ]
    record = read_row({"messages": messages}, Fields())
    assert record.prompt == messages[:-1]
    assert (record.completion, record.reference_answer) == ("#### 4", "4")


def test_what_follows_the_last_answer_of_the_assistant_is_left_out():
    messages = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Thanks"},
    ]
    record = read_row({"messages": messages}, Fields())
    assert (record.prompt, record.completion) == ("2+2?", "4")


def test_an_id_comes_from_the_content_where_the_row_has_none():
    rows = [{"question": f"{i}?", "answer": "#### 1"} for i in range(3)]
    ids = [read_row(row, Fields()).id for row in rows]
    assert ids == [content_digest(row["question"], row["answer"])[:16] for row in rows]
    assert len(set(ids)) == 3
    assert read_row(rows[0] | {"note": "x"}, Fields()).id == ids[0]


@pytest.mark.parametrize(("value", "own"), [("k7", "k7"), (7, "7"), (" ", None), (True, None)])
def test_an_id_is_text_or_a_whole_number(value, own):
    record = read_row({"question": "q", "answer": "a", "id": value}, Fields())
    assert record.id == (own or content_digest("q", "a")[:16])


def test_an_id_that_cannot_be_used_is_kept_as_another_field():
    record = read_row({"question": "q", "answer": "a", "id": 1.5}, Fields())
    assert len(record.id) == 16
    assert record.extra == {"source_id": 1.5}


def test_a_label_of_the_source_is_kept_apart():
    row = {"question": "1?", "answer": "#### 1", "label": "system2", "steps": 2}
    record = read_row(row, Fields())
    assert record.label is None
    assert record.extra == {"source_label": "system2", "steps": 2}
    assert source_label(record) == "system2"
    assert source_label(read_row(row | {"label": "hard"}, Fields())) is None


@pytest.mark.parametrize("reverse", [False, True])
def test_our_own_lines_are_read_by_their_own_label(reverse):
    """A line of `labels.jsonl` keeps the label of the data that it was made from, under another name."""
    row = {"prompt": "2+2?", "completion": "4", "label": "system1", "source_label": "system2"}
    row["source_source_label"] = "hard"
    if reverse:
        row = dict(reversed(row.items()))
    record = read_row(row, Fields())
    assert source_label(record) == "system1"
    assert sorted(record.extra.values()) == ["hard", "system1", "system2"]


def test_field_options_override_the_format():
    row = {"key": "k1", "task": "Do.", "solution": "Done.", "question": "q", "answer": "a"}
    record = read_row(row, Fields(prompt="task", completion="solution", id="key"))
    assert (record.id, record.prompt, record.completion) == ("k1", "Do.", "Done.")
    assert record.extra == {"question": "q", "answer": "a"}
    with pytest.raises(BadRow, match="field `goal` is missing among `key`, `task`"):
        read_row(row, Fields(prompt="goal", completion="solution"))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"foo": 1, "bar": 2}, "fields `foo`, `bar` match no known format"),
        ({}, r"fields \(none\) match no known format"),
        ({"data": [{"question": "q"}]}, r"extract them with `jq -c '\.data\[\]'`"),
        ({"talk": [{"role": "user"}]}, "fields `talk` match no known format$"),
        ({"id": 1, "talk": [{"from": "gpt"}]}, "; `talk` holds a conversation: name it `messages`"),
        ({"question": ["1?"], "answer": "a"}, "field `question` is a list, not text"),
        ({"question": True, "answer": "a"}, "field `question` is true or false, not text"),
        ({"question": "\ud83e", "answer": "a"}, "half a surrogate pair"),
        ({"question": "q", "answer": "a", "when": {1, 2}}, "cannot be written as JSON"),
        ({"messages": "hi"}, "not a list of messages"),
        ({"messages": [{"content": "hi"}]}, "message 1 of `messages` has no `role`"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "no assistant message"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "no assistant message"),
        ({"question": "q", "choices": "a, b", "answer": 0}, "text but not a JSON list"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "not a list of 2 to 26 answers"),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "not one of 2 choices"),
    ],
)
def test_rows_that_are_not_records_say_what_was_found(row, found):
    with pytest.raises(BadRow, match=found):
        read_row(row, Fields())


@pytest.mark.parametrize(
    ("prompt", "completion", "side"),
    [
        ("q", "a", None),
        (" \n", "a", "empty prompt"),
        ("q", "\t", "empty completion"),
        ("", "", "empty completion"),
        ([{"role": "system", "content": ""}, {"role": "user", "content": "q"}], "a", None),
        (
            [{"role": "system", "content": ""}, {"role": "user", "content": " "}],
            "a",
            "empty prompt",
        ),
    ],
)
def test_the_empty_side_of_a_record_is_named(prompt, completion, side):
    assert empty_side(Record("r", prompt, completion)) == side


@pytest.mark.parametrize(("answer", "letter"), [(2, "C"), ("2", "C"), (2.0, "C"), (" d", "D")])
def test_an_answer_among_choices_is_an_index_or_a_letter(answer, letter):
    row = {"question": "q", "choices": ["w", "x", "y", "z"], "answer": answer}
    assert read_row(row, Fields()).completion == letter


@pytest.mark.parametrize("answer", ["AB", 4, -1, 2.5, "", "E", True, "22"])
def test_an_answer_that_is_none_of_the_choices_is_bad(answer):
    row = {"question": "q", "choices": ["w", "x", "y", "z"], "answer": answer}
    with pytest.raises(BadRow, match="not one of 4 choices"):
        read_row(row, Fields())


def test_messages_may_hold_their_text_in_parts():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "three"}]
    assert read_row({"messages": messages}, Fields()).prompt == "one two"
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    messages[0] = {"role": "user", "content": picture}
    with pytest.raises(BadRow, match="message 1 of `messages` has content that is not text"):
        read_row({"messages": messages}, Fields())


def test_choices_may_be_the_text_of_a_json_list():
    row = {"question": "q", "choices": json.dumps(["w", "x"]), "answer": "1"}
    assert read_row(row, Fields()).prompt == "q\nA. w\nB. x\nAnswer:"
