"""The offline teachers."""

import pytest

from lorapar_cli.labelling.teachers.rules import RULES, cues, operations, prompt_text, shape
from lorapar_cli.names import System
from lorapar_cli.store.records import Record

ONE, TWO = System.SYSTEM1, System.SYSTEM2


def record(prompt="", completion=""):
    return Record("r", prompt, completion)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("What is the capital of France?", ONE),
        ("What is 2 + 2?", ONE),
        ("Ann buys 3 apples, and gives half of them away. How many are left?", TWO),
        ("A book costs 5. Tom sells two, then buys 4 more.", TWO),
    ],
)
def test_operations_count_clauses(prompt, label):
    assert operations(record(prompt))[0] is label


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("Who wrote Faust?", ONE),
        ("Name the capital of Peru.", ONE),
        ("Explain why the sky is blue, and compare it with the sea.", TWO),
        ("Which is longer?\nA. if then explain prove\nB. derive\nAnswer:", ONE),
    ],
)
def test_cues_weigh_reasoning_against_recall(prompt, label):
    assert cues(record(prompt))[0] is label


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        ("Paris", ONE),
        ("3 + 4 = 7", ONE),
        ("3 + 4 = 7\n7 * 2 = 14", TWO),
        ("3+4=<<3+4=7>>7", ONE),
        ("word " * 80, TWO),
        ("for x in y:\n    if x:\n        return x\n", TWO),
    ],
)
def test_shape_judges_the_completion(completion, label):
    assert shape(record(completion=completion))[0] is label


def test_each_rule_gives_a_reason_and_reads_no_label():
    plain = record("Tom has 3 apples and eats one.", "2")
    labelled = Record("r", plain.prompt, plain.completion, extra={"source_label": "system1"})
    for _, rule in RULES.values():
        label, reason = rule(plain)
        assert label in tuple(System)
        assert reason
        assert rule(labelled) == (label, reason)


def test_messages_are_read_as_one_text():
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert prompt_text(record(messages)) == "Be kind.\nHi"
    call = {"id": "c1", "function": {"name": "clock", "arguments": {"city": "Lima"}}}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "12:30"},
    ]
    assert prompt_text(record(messages)) == (
        'Be kind.\nHi\n{"name": "clock", "arguments": {"city": "Lima"}}\n12:30'
    )
