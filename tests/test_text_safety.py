"""Text of others: nothing in it acts on a terminal, and no key is shown, whole or in part."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.text_safety import (
    escape_json,
    hide_keys,
    holds_key,
    looks_like_key,
    make_inert,
    redact,
    remove_secret,
)

KEY = "sk-proj-Ab12Cd34Ef56Gh78"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08c\x7f", "a\\x0db\\x08c\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u2028error: b\u2029", "a\\u2028error: b\\u2029"),
        ("two\nlines\tand [red]markup[/]", "two\nlines\tand [red]markup[/]"),
        ("Ünïcode ✓ 漢字", "Ünïcode ✓ 漢字"),
    ],
)
def test_control_characters_are_spelled_out(raw, shown):
    assert make_inert(raw) == shown


@given(st.text())
def test_escaped_json_means_the_same_and_can_be_written(text):
    written = escape_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(written) == {"a": text}
    assert make_inert(written) == written
    written.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        f"invalid key {KEY}",
        f"Bearer {KEY}",
        f"{KEY[:7]}...{KEY[-4:]} is wrong",
        f"{KEY[:4]}********{KEY[-4:]}",
        f"{KEY[:4]}\u2026{KEY[-4:]}",
        f"the part {KEY[8:16]} alone",
        f"twice {KEY}{KEY} and {KEY[3:12]}",
    ],
)
def test_no_six_characters_of_a_known_key_are_left(text):
    shown = redact(text, [KEY])
    assert not any(KEY[i : i + 6] in shown for i in range(len(KEY) - 5))
    assert "..." not in shown
    assert "***" not in shown


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("http://user:geheim@host/v1", "geheim"),
        ("https://host/v1?api_key=geheim&x=1", "geheim"),
        ("https://host/v1?key=geheim", "geheim"),
        ("Authorization: Bearer geheim123", "geheim123"),
        ("hf_abcdefghijklmnop", "abcdefgh"),
    ],
)
def test_what_looks_like_a_key_is_removed(text, gone):
    assert gone not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1 refused the request (404)",
        "no such model `llama3:8b`; it is one of ...",
        "wait... and then go on",
        "skills and risk-free tasks",
    ],
)
def test_ordinary_words_stay(text):
    assert redact(text, ["sk-another-key-0000"]) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see Ab12Cd now", "see [removed] now"),
        ("see AB12CD now", "see [removed] now"),
        ("see A-b-1-2-C-d-3-4 now", "see [removed] now"),
        ("ends in Gh78.", "ends in [removed]."),
        ("sk-p******", "[removed]"),
        ("is it ...78?", "is it [removed]?"),
        ("System 2... so far", "System 2... so far"),
        ("Hmm...maybe System 1", "Hmm...maybe System 1"),
        ("project 78 of 12", "project 78 of 12"),
    ],
)
def test_what_is_left_of_a_known_key_goes_and_other_words_stay(text, left):
    assert remove_secret(text, KEY) == left


@pytest.mark.parametrize("key", ["", "x", "no"])
def test_a_stand_in_of_one_or_two_characters_is_no_secret(key):
    assert remove_secret("no System 2 x", key) == "no System 2 x"


@given(st.text(), st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8))
def test_a_key_in_any_text_leaves_no_six_of_its_characters(text, key):
    left = remove_secret(f"{text}{key}{text}", key).replace("[removed]", " ")
    assert not any(key[i : i + 6] in left for i in range(len(key) - 5))


@pytest.mark.parametrize(
    "text", ["Zx81QmPl07VdKw3TgYb5Hs9R", "6f1d8c2b-9a47-4e03-b5d8-71c0aa93e2f4"]
)
def test_a_key_without_a_prefix_is_known_by_its_look(text):
    assert looks_like_key(f"a {text}")
    assert hide_keys(f"a {text}") == "a [removed]"


@pytest.mark.parametrize(
    "text", ["DeepSeekCoderInstruct", "mistral7binstructv02gguf", "rules-cues"]
)
def test_a_name_is_no_key(text):
    assert not looks_like_key(text)


@pytest.mark.parametrize(
    "token", ["a", "a ", "sk-", "sk-a", "*", ".", "***a", "ab...", "://", "?key=", "Bearer ", "aB1"]
)
def test_a_megabyte_of_one_token_takes_time_in_proportion(token):
    started = time.process_time()
    text = token * (1_000_000 // len(token))
    redact(text, [KEY])
    hide_keys(text)
    assert time.process_time() - started < 30


@pytest.mark.parametrize(
    "text",
    [
        *(
            KEY,
            "sk-1234567890abcdef",
            "sk-abcdefghijklmnopqrst",
            "hf_zWqYxKvJpRtBnMcLsDfGhTyUeQaXoVi",
        ),
        *("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "AKIAIOSFODNN7EXAMPLE", f"org/{KEY}"),
        *("http://user:geheim@host/v1", "s3://ID:SECRET@bucket/x", "data.jsonl?token=geheim"),
        *(
            "https://host/x?X-Amz-Signature=abc",
            "Authorization: Bearer geheim123",
            "hub_token=geheim",
        ),
        *('{"api_key": "geheim"}', "x-api-key: geheim"),
    ],
)
def test_a_value_with_a_key_in_it_is_known(text):
    assert holds_key(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/data/hf_datasets/a.jsonl",
            "hf_checkpoint1000",
            "sk-learn-data",
            "runs/sk-learn-2024-data",
        ),
        *(
            "meta-llama/Llama-3.1-8B",
            "eos_token=</s>",
            "enable_thinking=false",
            "openai/gsm8k@main",
        ),
        *(
            "hf://datasets/openai/gsm8k",
            "https://huggingface.co/x",
            "max_token=3",
            "keys=3",
            "monkey=3",
        ),
        *("/home/me/api_keys/x.jsonl", "answer=2,format=0.5", "deadbeef" * 5, "secret_santa.jsonl"),
        *("task-sk-1", "ghost_story_data_2", "password.jsonl", "the bearer of news"),
        *("date_string=26 Jul 2024", "a=m@http://127.0.0.1:8000/v1", "task-2024-11-03/data.jsonl"),
    ],
)
def test_names_and_paths_are_not_taken_for_keys(text):
    assert not holds_key(text)
