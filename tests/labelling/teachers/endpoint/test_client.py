"""One endpoint: what it is sent, how its replies are read, what of it becomes public."""

import traceback

import pytest

from lorapar_cli.errors import LoraparError
from tests.labelling.classify_parts import (
    FAST,
    ask,
    expected_labels,
    labels_of,
    read_lines,
    requests_to,
    run_classify,
    running_server,
    write_questions,
)


def test_an_endpoint_without_structured_output_is_asked_in_plain_words(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(knows_no_schema=True, delay=0.05) as server:
        outcome = ask(tmp_path / "run", data, server, "a", concurrency=16)
        requests = requests_to(server)
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["asked"], counts["refused"], counts["no_vote"]) == (60, 0, 0)
    # Found out by the requests that were in flight together, and not again.
    assert 60 < requests <= 60 + 16


def test_a_model_without_a_system_role_gets_all_in_one_message(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 5)
    with running_server(knows_no_system=True) as server:
        outcome = ask(tmp_path / "run", data, server, "a", concurrency=1)
        assert requests_to(server) == 6
        questions = list(server.stats()["billed"])
    assert outcome.manifest.counts["teachers"]["a"]["asked"] == 5
    assert all("You are a small language model" in question for question in questions)


@pytest.mark.parametrize("content", [["System 2"], 7, {"label": "System2"}])
def test_content_of_another_kind_is_an_unreadable_answer(tmp_path, content):
    data = write_questions(tmp_path / "data.jsonl", 3)
    with running_server(always=content) as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", retries=1)
        assert "unreadable answer" in error.value.found


@pytest.mark.parametrize("usage", [[1], {"prompt_tokens": -5}, None, "many"])
def test_an_answer_counts_although_its_bill_cannot_be_read(tmp_path, usage):
    data = write_questions(tmp_path / "data.jsonl", 3)
    parts = [{"type": "text", "text": "System"}, {"type": "text", "text": " 1"}]
    with running_server(always=parts, usage=usage) as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["system1"], counts["requests"]) == (3, 3)
    assert any("reported no tokens for 3 answers" in note for note in outcome.manifest.notes)


def test_the_key_appears_nowhere(tmp_path, monkeypatch, capfd):
    """Not in files, messages or tracebacks, even where a server repeats it."""
    key = "sk-secret-0123456789abcdef"
    data = write_questions(tmp_path / "data.jsonl", 10)
    monkeypatch.setenv("MY_KEY", key)
    texts = []
    settings = {"key": key, "refuse": ["Ann has 7 "], "echo_key": True}
    with running_server(**settings) as server:
        config = tmp_path / "mine.yaml"
        config.write_text(
            f"teachers:\n  a: {{base_url: '{server.url}', model: model-a, key_env: MY_KEY}}\n"
        )
        options = {"teachers_file": config, "clock": FAST}
        outcome = run_classify(tmp_path / "run", data, ["a"], **options)
        assert server.stats()["headers"]["authorization"] == f"Bearer {key}"
        monkeypatch.setenv("MY_KEY", key + "-wrong")
        with pytest.raises(LoraparError) as error:
            run_classify(tmp_path / "other", data, ["a"], progress=print, **options)
        texts += [str(error.value), "".join(traceback.format_exception(error.value))]
    assert "the key was not accepted (401)" in texts[0]
    assert any("[removed]" in line["text"] for line in read_lines(outcome.folder / "votes.jsonl"))
    texts += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    texts += [repr(outcome), *capfd.readouterr()]
    assert not [text for text in texts if "0123456789abcdef" in text]
