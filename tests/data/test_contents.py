"""The question with all that belongs to it, in every layout; and what is named as left out."""

import pytest

from lorapar_cli.data.formats import Fields, read_row
from lorapar_cli.data.rows import BadRow

LAYOUTS = {
    "gsm8k": ("question", "answer"),
    "alpaca": ("instruction", "output"),
    "dolly": ("instruction", "response"),
    "completion": ("prompt", "completion"),
    "math": ("problem", "solution"),
    "query": ("query", "response"),
    "prompt": ("prompt", "answer"),
    "humaneval": ("prompt", "canonical_solution"),
    "preference": ("prompt", "chosen"),
}


def row_of(layout, **more):
    question, completion = LAYOUTS[layout]
    return {question: "Who sang?", completion: "Ann"} | more


def prompt_of(row, **fields):
    read = read_row(row, Fields(**fields))
    assert not read.unused
    (record,) = read.records
    assert record.completion == "Ann"
    return record.prompt


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", ["context", "passage", "article"])
def test_a_passage_is_part_of_the_question(layout, field):
    prompt = prompt_of(row_of(layout, **{field: "Ann sang."}))
    first = layout in ("alpaca", "dolly")
    assert prompt == ("Who sang?\n\nAnn sang." if first else "Ann sang.\n\nWho sang?")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_passage_may_be_a_list_of_texts_but_nothing_else(layout):
    prompt = prompt_of(row_of(layout, context=["Ann sang.", "Bob did not."]))
    assert "Ann sang.\n\nBob did not." in prompt
    for context in ({"title": ["x"]}, [["x"]], 3):
        with pytest.raises(BadRow, match=r"field `context` is .*, not text"):
            read_row(row_of(layout, context=context), Fields())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("empty", ["", " \n", None])
def test_empty_parts_add_nothing(layout, empty):
    more = dict.fromkeys(("context", "passage", "input", "system", "system_prompt"), empty)
    assert prompt_of(row_of(layout, **more, history=[])) == "Who sang?"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input_follows_the_question(layout):
    assert prompt_of(row_of(layout, input="Ann or Bob?")) == "Who sang?\n\nAnn or Bob?"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", ["system", "system_prompt"])
def test_a_system_message_comes_first(layout, field):
    assert prompt_of(row_of(layout, **{field: "Be brief."})) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who sang?"},
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_earlier_turns_come_before_the_question(layout):
    row = row_of(layout, system="Be brief.", history=[["Who danced?", "Bob"]], context="Ann sang.")
    prompt = prompt_of(row)
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in prompt[:3]] == ["Be brief.", "Who danced?", "Bob"]
    assert "Ann sang." in prompt[3]["content"]
    assert "Who sang?" in prompt[3]["content"]


def test_passages_input_and_options_keep_their_order():
    row = {
        "question": "Who sang?",
        "passage": "Ann sang.",
        "input": "Choose one.",
        "options": ["Ann", "Bob"],
        "answer": "Ann",
    }
    (record,) = read_row(row, Fields()).records
    assert record.prompt == "Ann sang.\n\nWho sang?\n\nChoose one.\nA. Ann\nB. Bob\nAnswer:"


def test_a_prompt_that_was_built_from_its_parts_is_left_as_it_is():
    prompt = "Read: Ann sang. Who sang?"
    assert prompt_of({"prompt": prompt, "completion": "Ann", "context": "Ann sang."}) == prompt


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"context": "Bob danced."}, "context"),
        ({"input": "Choose one."}, "input"),
        ({"choices": ["Ann", "Bob"]}, "choices"),
        ({"history": [["q", "a"]]}, "history"),
    ],
)
def test_what_has_no_place_among_messages_is_refused_by_name(more, field):
    messages = [{"role": "user", "content": "Ann sang. Who sang?"}]
    row = {"prompt": messages, "completion": "Ann"}
    assert prompt_of(row | {"context": "Ann sang."}) == "Ann sang. Who sang?"
    with pytest.raises(
        BadRow, match=f"field `{field}` has no place in `prompt`, a list of messages"
    ):
        read_row(row | more, Fields())


def test_a_prompt_of_messages_may_have_a_system_message_of_its_own():
    row = {
        "prompt": [{"role": "user", "content": "Who sang?"}],
        "completion": "Ann",
        "system": "Hm.",
    }
    assert [message["content"] for message in prompt_of(row)] == ["Hm.", "Who sang?"]


def test_text_that_looks_like_json_stays_text():
    for text in ('[{"a": 1}]', "[1, 2]", '{"a": 1}', "[unclosed"):
        assert prompt_of({"prompt": text, "completion": "Ann"}) == text
        (record,) = read_row({"question": "q", "answer": text}, Fields()).records
        assert record.completion == text


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", ["premise", "document", "hint", "image", "table"])
def test_a_part_that_is_not_read_is_named(layout, field):
    read = read_row(row_of(layout, **{field: "Ann sang."}), Fields())
    assert read.unused == {field}
    assert read.records[0].extra[field] == "Ann sang."


def test_what_the_prompt_holds_already_is_not_named():
    whole = "### Instruction:\nWho sang?\n\n### Response:\nAnn"
    assert not read_row(row_of("alpaca", text=whole), Fields()).unused
    assert not read_row(row_of("gsm8k", prompt="Who sang?"), Fields()).unused
    assert read_row(row_of("gsm8k", prompt="Who danced?"), Fields()).unused == {"prompt"}
    assert not read_row(row_of("gsm8k", hint="", table=[]), Fields()).unused


def test_named_fields_are_all_that_is_read():
    row = {"task": "Who sang?", "done": "Ann", "context": "Ann sang.", "choices": ["Ann", "Bob"]}
    read = read_row(row, Fields(prompt="task", completion="done"))
    assert (read.records[0].prompt, read.records[0].completion) == ("Who sang?", "Ann")
    assert read.unused == {"context", "choices"}


def test_tests_are_part_of_a_programming_task():
    row = {
        "prompt": "Double n.",
        "code": "def f(n): return 2 * n",
        "test_list": ["assert f(1) == 2"],
    }
    (record,) = read_row(row, Fields()).records
    assert record.prompt == "Double n.\n\nYour code should pass these tests:\n\nassert f(1) == 2"
    assert record.extra["test_list"] == row["test_list"]
    with pytest.raises(BadRow, match="`test_list` is not a list of tests"):
        read_row(row | {"test_list": [1]}, Fields())


def test_the_label_of_boolq_is_its_answer():
    row = {"question": "is the sea salty", "passage": "The sea is salty.", "label": True}
    (record,) = read_row(row, Fields()).records
    assert (record.completion, record.accepted_answers) == ("yes", ["yes", "true"])
    assert record.extra == {}
    (record,) = read_row(row | {"label": 0}, Fields()).records
    assert record.completion == "no"
    with pytest.raises(BadRow, match="`label` is neither true nor false"):
        read_row(row | {"label": -1}, Fields())


def test_a_labelled_record_is_read_as_it_was_written():
    """What `classify` wrote has been read before: nothing is added to its prompt again."""
    source = {
        "task": "Who sang?",
        "done": "Ann",
        "context": "Ann sang.",
        "question": "q",
        "answer": "a",
    }
    (record,) = read_row(source, Fields(prompt="task", completion="done", id="none")).records
    (again,) = read_row(record.to_json(), Fields()).records
    assert (again.id, again.prompt, again.completion) == (record.id, "Who sang?", "Ann")
    assert again.reference_answer == record.reference_answer
    assert again.extra["context"] == "Ann sang."
