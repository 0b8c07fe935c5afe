"""The prompt."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.label_prompt import (
    PLAIN,
    ROLE_PLAY,
    SECOND_ATTEMPT,
    read_prompt,
)
from lorapar_cli.store.records import Record

RECORD = Record("1", "Is {{answer}} 4?\n---\nno", "It is {{student}}.")


def test_the_prompt_plays_the_student_and_fills_each_place_once():
    prompt = read_prompt(ROLE_PLAY, role_play=True, student="S", description=" Tiny. ")
    system, user = prompt.messages(RECORD)
    assert system["role"] == "system"
    assert "You are S. Tiny. You are not" in system["content"]
    assert (
        "Task:\nIs {{answer}} 4?\n---\nno\n\nAnswer to the task:\nIt is {{student}}."
        in (user["content"])
    )
    again = prompt.messages(RECORD, second_attempt=True)
    assert again[-1]["content"] == user["content"] + SECOND_ATTEMPT


def test_without_role_play_no_student_is_named():
    prompt = read_prompt(None, role_play=False, student="Tiny", description=None)
    assert "Tiny" not in str(prompt.messages(RECORD))
    assert prompt == read_prompt(PLAIN, role_play=False, student="Other", description=None)


def test_a_template_of_ones_own(tmp_path):
    path = tmp_path / "template.txt"
    path.write_text("Q {{question}} A {{answer}}")
    prompt = read_prompt(path, role_play=True, student=None, description=None)
    assert prompt.messages(Record("1", "q", "a")) == [{"role": "user", "content": "Q q A a"}]
    path.write_text("Q {{question}} A {{answer}}!")
    changed = read_prompt(path, role_play=True, student=None, description=None)
    assert changed.digest != prompt.digest
    for text, message in (("{{question}}", "lacks"), ("{{question}}{{answer}}{{x}}", "unknown")):
        path.write_text(text)
        with pytest.raises(LoraparError, match=message):
            read_prompt(path, role_play=True, student=None, description=None)
