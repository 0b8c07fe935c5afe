"""Conversations: both layouts, tool calls, weights, turns, and what is refused."""

import json

import pytest

from lorapar_cli.data.formats import Fields, content_digest, read_row
from lorapar_cli.data.messages import read_history
from lorapar_cli.data.rows import BadRow

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def said(*texts):
    """Returns messages that user and assistant take turns to say."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def records_of(row, **fields):
    return read_row(row, Fields(**fields)).records


@pytest.mark.parametrize(
    ("spoken", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("system", "system"),
        ("observation", "tool"),
        ("tool", "tool"),
    ],
)
def test_sharegpt_names_become_roles(spoken, role):
    rows = [{"from": spoken, "value": "x"}, {"from": "gpt", "value": "y"}]
    (record,) = records_of({"conversations": [{"from": "human", "value": "h"}, *rows]})
    assert record.prompt == [{"role": "user", "content": "h"}, {"role": role, "content": "x"}]


def test_conversations_may_have_roles_and_messages_may_have_speakers():
    (one,) = records_of({"conversations": said("q", "a")})
    (other,) = records_of(
        {"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    )
    assert (one.prompt, one.completion) == (other.prompt, other.completion) == ("q", "a")


def test_a_cell_of_a_table_may_hold_messages_as_json():
    (record,) = records_of({"messages": json.dumps(said("q", "a"))})
    assert (record.prompt, record.completion) == ("q", "a")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"role": "user"}, "message 2 of `messages` has no `content`"),
        ({"role": "user", "content": None}, "message 2 of `messages` has `content` null"),
        ({"role": None, "content": "x"}, "message 2 of `messages` has `role` null"),
        ({"content": "x"}, "message 2 of `messages` has no `role`"),
        ({"role": 3, "content": "x"}, "message 2 of `messages` has a role that is a number"),
        ({"from": None, "value": "x"}, "message 2 of `messages` has `from` null"),
        ({"from": "human"}, "message 2 of `messages` has no `value`"),
        ({"from": "dog", "value": "x"}, "from an unknown speaker, `dog`"),
        ({"role": "user", "content": 5}, "has content that is not text"),
        ("hi", "message 2 of `messages` is text, not an object"),
        (None, "message 2 of `messages` is null, not an object"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "neither 0 nor 1"),
        ({"role": "assistant", "content": "x", "weight": []}, "neither 0 nor 1"),
        ({"role": "assistant", "tool_calls": ["f"]}, "a tool call without the name of a function"),
        ({"role": "assistant", "tool_calls": "f"}, "`tool_calls` that is text, not a list"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "the older form of `tool_calls`"),
        ({"from": "function_call", "value": "f(1)"}, "without the name of a function"),
    ],
)
def test_messages_that_cannot_be_read(message, found):
    with pytest.raises(BadRow, match=found):
        records_of({"messages": [*said("q"), message, *said("q", "a")]})


def test_tool_calls_keep_their_ids_and_null_fields_go():
    tools = [{"type": "function", "function": {"name": "f"}}]
    called = {"role": "assistant", "content": None, "tool_calls": [CALL | {"index": None}]}
    answered = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "7"}
    row = {"messages": [*said("q"), called, answered, *said("", "7")[1:]], "tools": tools}
    (record,) = records_of(row)
    assert record.tools == tools
    assert record.prompt == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "7", "tool_call_id": "c1", "name": "f"},
    ]
    assert record.completion == "7"
    # Tables write the definitions as JSON, and fill the fields of other rows with null.
    assert records_of(row | {"tools": json.dumps(tools)})[0].tools == tools
    merged = [m | {"tool_calls": m.get("tool_calls"), "weight": None} for m in row["messages"]]
    assert records_of(row | {"messages": merged}) == [record]
    assert records_of(row | {"tools": None})[0].tools is None


def test_a_tool_call_is_no_completion():
    called = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]}
    row = {"messages": [*said("q", "a", "again"), called]}
    with pytest.raises(BadRow, match="to train on is a tool call, not text"):
        records_of(row)
    assert [r.completion for r in records_of(row, turns="all")] == ["a"]
    with pytest.raises(BadRow, match="tool call"):
        records_of({"prompt": said("q"), "completion": [called]})


def test_columns_that_are_not_definitions_of_tools_stay_what_they_are():
    (record,) = records_of({"question": "q", "answer": "a", "tools": "a hammer"})
    assert record.tools is None
    assert record.extra == {"source_tools": "a hammer"}


def test_a_message_of_weight_0_is_context_only():
    messages = said("1", "one", "2", "two")
    assert records_of({"messages": messages})[0].completion == "two"
    (record,) = records_of({"messages": [*messages[:3], messages[3] | {"weight": 0}]})
    assert (record.prompt, record.completion) == ("1", "one")
    (record,) = records_of({"messages": [messages[0], messages[1] | {"weight": 0}, *messages[2:]]})
    assert record.completion == "two"
    assert [m["content"] for m in record.prompt] == ["1", "one", "2"]
    weightless = [m | {"weight": 0} for m in messages]
    with pytest.raises(BadRow, match="every assistant message of `messages` has weight 0"):
        records_of({"messages": weightless})
    mixed = [messages[0], messages[1] | {"weight": 0}, *messages[2:]]
    assert [r.completion for r in records_of({"messages": mixed}, turns="all")] == ["two"]


@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_every_turn_is_a_record(field):
    row = {field: said("2+2?", "4", "3+3?", "#### 6"), "final_answer": "six"}
    first, second = records_of(row, turns="all")
    assert (first.prompt, first.completion, first.reference_answer) == ("2+2?", "4", "4")
    assert second.prompt == said("2+2?", "4", "3+3?")
    assert (second.completion, second.reference_answer) == ("#### 6", "six")
    assert first.id == content_digest("2+2?", "4")[:16]
    assert [r.id for r in records_of(row | {"id": 9}, turns="all")] == ["9/1", "9/2"]
    assert [r.id for r in records_of(row | {"id": 9})] == ["9"]


def test_a_row_without_turns_is_one_record_whatever_the_option_says():
    row = {"id": "x", "question": "q", "answer": "a"}
    assert records_of(row, turns="all") == records_of(row)


def test_a_systems_own_field_comes_first_once():
    messages = said("q", "a")
    (record,) = records_of({"messages": messages, "system": "Be kind."})
    assert record.prompt == [{"role": "system", "content": "Be kind."}, *said("q")]
    assert record.extra == {}
    repeated = [{"role": "system", "content": "Be kind."}, *messages]
    assert records_of({"messages": repeated, "system": "Be kind.\n"}) == [record]
    with pytest.raises(BadRow, match="field `system` differs from the system message"):
        records_of({"messages": repeated, "system": "Be rude."})


def test_a_column_with_the_label_is_no_system_message():
    read = read_row({"question": "q", "answer": "a", "system": "system2"}, Fields())
    assert read.records[0].prompt == "q"
    assert read.unused == {"system"}


def test_thoughts_beside_a_message_are_named():
    messages = said("q", "a")
    messages[1]["reasoning_content"] = "Hm."
    assert read_row({"messages": messages}, Fields()).unused == {"messages[].reasoning_content"}


@pytest.mark.parametrize(
    "history",
    [
        [["q1", "a1"], ["q2", "a2"]],
        '[["q1", "a1"], ["q2", "a2"]]',
        said("q1", "a1", "q2", "a2"),
        [
            {"from": "human", "value": "q1"},
            {"from": "gpt", "value": "a1"},
            {"from": "human", "value": "q2"},
            {"from": "gpt", "value": "a2"},
        ],
    ],
)
def test_history_is_pairs_or_messages(history):
    assert read_history(history, "history") == said("q1", "a1", "q2", "a2")
    (record,) = records_of({"question": "q3", "answer": "a3", "history": history})
    assert record.prompt == said("q1", "a1", "q2", "a2", "q3")


@pytest.mark.parametrize("history", ["earlier talk", ["q1", "a1"], [["q1"]], {"q": "a"}, 3])
def test_any_other_history_is_refused(history):
    with pytest.raises(BadRow, match="neither pairs of question and answer nor messages"):
        records_of({"question": "q", "answer": "a", "history": history})


def test_preferred_answers_in_every_form():
    chosen, rejected = said("q", "good"), said("q", "bad")
    rows = [
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": chosen, "rejected": rejected},
        {"chosen": chosen, "rejected": rejected},
        {"prompt": said("q"), "chosen": chosen[1:], "rejected": rejected[1:]},
        {"instruction": "q", "chosen": chosen[1], "rejected": rejected[1]},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
    ]
    for row in rows:
        (record,) = records_of(row)
        assert (record.prompt, record.completion) == ("q", "good"), row
        assert record.extra["rejected"] == row["rejected"]


@pytest.mark.parametrize("chosen", ["\n\nHuman: q\n\nAssistant: good", [said("q", "good")[1]]])
def test_a_preferred_answer_without_its_prompt_is_refused(chosen):
    with pytest.raises(BadRow, match="no field holds its prompt"):
        records_of({"chosen": chosen, "rejected": "bad"})


@pytest.mark.parametrize("label", [False, "False", "false"])
def test_an_answer_that_was_rejected_is_refused(label):
    with pytest.raises(BadRow, match="`label` is false"):
        records_of({"prompt": "q", "completion": "bad", "label": label})


@pytest.mark.parametrize("label", [True, "True", 0, 1, "system1", "no", None])
def test_any_other_label_is_kept(label):
    (record,) = records_of({"prompt": "q", "completion": "good", "label": label})
    assert record.extra == {"source_label": label}
