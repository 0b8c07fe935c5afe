"""Small files of questions, in the folder that each test runs in."""

import pytest

from lorapar_cli.store.records import write_jsonl

QUESTIONS = [
    {"question": f"What is {n}+{n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(9)
]
CHOICES = [
    {
        "subject": subject,
        "question": f" Pick {n} ",
        "choices": ["w", "x", "y", "z"],
        "answer": n % 4,
    }
    for subject in ("anatomy", "formal_logic")
    for n in range(4)
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with gsm8k.jsonl and mmlu.jsonl, which is the current one."""
    write_jsonl(tmp_path / "gsm8k.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "mmlu.jsonl", CHOICES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def questions():
    """The rows of gsm8k.jsonl."""
    return QUESTIONS


@pytest.fixture
def choices():
    """The rows of mmlu.jsonl."""
    return CHOICES
