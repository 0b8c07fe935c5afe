import pytest

from lorapar_cli.labelling.teachers.label_parser import parse_cut_label, parse_label
from lorapar_cli.names import System

ONE, TWO = System.SYSTEM1, System.SYSTEM2


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("System 2", TWO),
        ("SYSTEM_2.", TWO),
        ("system-1", ONE),
        ("**System 1**", ONE),
        ("It is System1 because the fact is recalled", ONE),
        ("Label: System One", ONE),
        ("2", TWO),
        ('{"reason": "recall", "label": "System1"}', ONE),
        ('{"label": 2}', TWO),
        ('```json\n{\n  "reason": "many steps",\n  "label": "System2"\n}\n```', TWO),
        ('{"reason": "not System1: a chain", "label": "System2"}', TWO),
        ('{"reason": "cut off before the end", "label": "System2"', TWO),
        ('{"reason": "It is System2 and so', TWO),
        ("<think>System 1? No, System 2? Or 1.</think>\n\nSystem 1", ONE),
        ("I weigh System 1 and System 2.\nSteps depend on one another.\n\nSystem 2.", TWO),
        ("The answer is System 1. System 2 would need a chain.", ONE),
        ("This is not System 1 but System 2", TWO),
        ("It isn't System 2; it's System 1.", ONE),
        ("Rather than System 2, the student uses System 1 here", ONE),
        ('Final answer: "System2"', TWO),
        ("系统: System2。", TWO),
        ("System\u20112", TWO),
        ("ＳＹＳＴＥＭ ２", TWO),
        ("(2)", TWO),
        ('{"label": "System\\u0032"}', TWO),
        ("I would not call it System 2; it is System 1.", ONE),
        ("System 2 (slow), as opposed to System 1", TWO),
        ('{"label": "System1"} no, wait, the steps build. {"label": "System2"}', TWO),
    ],
)
def test_a_label_is_found_in_any_wording(text, label):
    assert parse_label(text) is label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "I cannot say",
        "both System 1 and System 2 play a part in this",
        "System 1 or System 2",
        "The answer is System 1 or System 2, depending on the student",
        "Neither System 1 nor System 2",
        "Not System 1.",
        '{"reason": "unsure", "label": "System1 or System2"}',
        '{"reason": "unsure", "label": null}',
        "<think>It must be System 2, since",
        "operating system 10",
        "System 12",
        "ecosystem 2",
        "It could be System 1 or 2.",
        "System 1/2",
        "Both System 1 and 2 apply",
        "System 1\nSystem 2",
        "1. System 1\n2. System 2",
        "Label: System 1\nLabel: System 2",
        '{"reason": "x", "label": "System1"} or {"reason": "y", "label": "System2"}',
        '{"reason": "System 1 is too little", "label": null}',
        "This isn\u2019t System 1.",
        "It is not really System 1",
        "System 1.5",
        '{"label": "\\x"}',
    ],
)
def test_an_answer_that_names_both_or_neither_is_no_vote(text):
    assert parse_label(text) is None


@pytest.mark.parametrize("repeated", ['"', "system ", "not a ", "<think>"])
def test_hard_answers_of_any_length_are_read(repeated):
    """`python -m benchmarks classify` measures the time, which is linear in the length."""
    text = repeated * 20_000
    for prefix in ("", "x "):
        read = parse_label(f'{prefix}{{"label": "System1"}}, {text} x {{"label": "System2"}}')
        assert read is (ONE if repeated == "<think>" else TWO)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("System 2", None),
        ("System 2 questions need several steps, while", None),
        ("Label: System 1", None),
        ('{"reason": "It is System2 and so', None),
        ('{"label": "System1"} no, wait, the steps', None),
        ("<think>System 2, since", None),
        ("1", None),
        ("", None),
        ("[" * 100_000, None),
        ('{"reason": "x", "label": "System2"}', TWO),
        ('{"reason": "x", "label": "System2"}\n   \n', TWO),
        ('```json\n{"label": "System1"}\n```', ONE),
        ('<think>System 2?</think>\n{"label": "System1"}\n', ONE),
        ('{"label": "System1 or System2"}', None),
    ],
)
def test_of_a_truncated_answer_only_a_complete_object_counts(text, label):
    assert parse_cut_label(text) is label
