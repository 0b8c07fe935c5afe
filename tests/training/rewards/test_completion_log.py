"""Rewards as TRL calls them, and the completions that are kept."""

import json
from types import SimpleNamespace

from lorapar_cli.events import silent
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.rewards.completion_log import (
    SAMPLE_CHARACTERS,
    CompletionLog,
    text_of,
    trl_reward,
)

CHAT = [{"role": "assistant", "content": "#### 4"}]


def columns(step: int = 0) -> dict:
    return {
        "reference_answer": ["4", None],
        "record_id": ["a", "b"],
        "in_block": [False, False],
        "completion_ids": [[5, 1], [6]],
        "trainer_state": SimpleNamespace(global_step=step),
    }


def call(log: CompletionLog, step: int = 0) -> list[list[float]]:
    """Calls two rewards as TRL does, in their order, for one batch."""
    first = trl_reward("first", lambda texts, _: [1.0] * len(texts), log, {1})
    second = trl_reward("second", lambda texts, references: [0.0, references[0] == "4"], log, {1})
    assert first.__name__ == "first"
    return [each(completions=[CHAT, "five"], **columns(step)) for each in (first, second)]


def test_a_batch_is_written_once_all_rewards_are_in(tmp_path):
    path = tmp_path / "completions.jsonl"
    log = CompletionLog(StepLog(path), {"first": 1, "second": 0.5}, 2, silent)
    assert call(log) == [[1.0, 1.0], [0.0, 1.0]]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "id": "a", "completion": "#### 4", "rewards": {"first": 1.0, "second": 0.0}},
        {"step": 1, "id": "b", "completion": "five", "rewards": {"first": 1.0, "second": 1.0}},
    ]


def test_a_sample_is_shown_every_twenty_steps(tmp_path):
    events = []
    log = CompletionLog(
        StepLog(tmp_path / "c.jsonl"), {"first": 1, "second": 0.5}, 2, events.append
    )
    for step in range(41):
        call(log, step)
    assert [event.text.split(",")[0] for event in events] == ["step 1", "step 21", "step 41"]
    assert "`a` (first 1, second 0): '#### 4'" in events[0].text


def test_a_process_that_writes_nothing_shows_nothing():
    events = []
    call(CompletionLog(None, {"first": 1, "second": 0.5}, 2, events.append))
    assert events == []


def test_long_samples_are_cut(tmp_path):
    events = []
    log = CompletionLog(StepLog(tmp_path / "c.jsonl"), {"one": 1}, 2, events.append)
    reward = trl_reward("one", lambda texts, _: [0.0] * len(texts), log, {1})
    reward(completions=["x" * 1000, ""], **columns())
    assert events[0].text.count("x") == SAMPLE_CHARACTERS
    assert events[0].text.endswith("...'")


def test_a_thought_that_was_truncated_has_no_answer(tmp_path):
    path = tmp_path / "completions.jsonl"
    log = CompletionLog(StepLog(path), {"answer": 1}, 2, silent)
    reward = trl_reward("answer", REWARDS["answer"], log, {1})
    given = columns() | {"reference_answer": ["4", "4"], "reference_answers": [["4"], ["4"]]}
    given |= {"in_block": [True, True]}
    # The first ended by itself, the second did not.
    assert reward(completions=["It is 4", "It is 4"], **given) == [1.0, 0.0]
    texts = [json.loads(line)["completion"] for line in path.read_text().splitlines()]
    assert texts == ["It is 4", "It is 4"]


def test_text_is_read_from_both_forms():
    assert [text_of(CHAT), text_of("plain")] == ["#### 4", "plain"]
