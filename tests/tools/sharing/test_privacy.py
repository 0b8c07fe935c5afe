"""No path, address or key stays in a text for others; names of the Hub do."""

import pytest

from lorapar_cli.tools.sharing.privacy import base_name, looks_like_path, without_places


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("read /home/me/data/train.jsonl, then", "read train.jsonl, then"),
        ("`/srv/models/llama` and ~/x/y.json", "`llama` and y.json"),
        (r"C:\Users\me\data.jsonl", "data.jsonl"),
        (r"\\server\share\data.jsonl", "data.jsonl"),
        ("--training output=/a/b", "--training output=b"),
        ("teacher at http://10.0.0.7:8000/v1 answers", "teacher at [address] answers"),
        ("see https://arxiv.org/abs/2507.20999", "see https://arxiv.org/abs/2507.20999"),
        ("Qwen/Qwen2.5-7B, 5/6, and/or, 1 / 2", "Qwen/Qwen2.5-7B, 5/6, and/or, 1 / 2"),
        ("key sk-abcdef1234567890", "key [removed]"),
        ("a\x1b[31m", "a\\x1b[31m"),
    ],
)
def test_places_go_and_names_stay(text, shown):
    assert without_places(text) == shown


def test_a_known_key_goes_whatever_it_looks_like():
    assert "plainwords" not in without_places("it is plainwords", ["plainwords"])


@pytest.mark.parametrize("path", ["/a/b", "./b", "../x/b", r"x\b", "a/b/c", "data/b.jsonl", "~/b"])
def test_paths_are_told_from_names(path):
    assert looks_like_path(path)
    assert "/" not in base_name(path)


@pytest.mark.parametrize(
    "name", ["openai/gsm8k", "Qwen/Qwen2.5-7B", "embedded", "answer=2,format=0.5"]
)
def test_names_are_not_paths(name):
    assert not looks_like_path(name)
