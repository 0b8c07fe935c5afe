"""Around GRPO's trainer: rewards as TRL calls them, completions that are kept, sizes that fit."""

import json
from types import SimpleNamespace

import pytest
from trl import GRPOConfig

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import silent
from lorapar_cli.store.records import Record
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.grpo import (
    SAMPLE_CHARACTERS,
    CompletionLog,
    _require_a_step,
    _require_whole_generations,
    _vllm_arguments,
    text_of,
    to_dataset,
    trl_reward,
)
from tests.conftest import build_tokenizer

CHAT = [{"role": "assistant", "content": "#### 4"}]


def columns(step: int = 0) -> dict:
    return {
        "reference_answer": ["4", None],
        "record_id": ["a", "b"],
        "trainer_state": SimpleNamespace(global_step=step),
    }


def test_rows_hold_the_reference_and_all_accepted_answers():
    records = [
        Record("a", "Capital?", "Paris", "Paris", reference_answers=["Paris", "paris, France"]),
        Record("b", "1+1?", "#### 2", "2"),
        Record("c", "Hi", "Well"),
    ]
    rows = to_dataset(records, build_tokenizer())
    assert rows["reference_answer"][:] == ["Paris", "2", None]
    assert rows["reference_answers"][:] == [["Paris", "paris, France"], ["2"], []]


def call(log: CompletionLog, step: int = 0) -> list[list[float]]:
    """Calls two rewards as TRL does, in their order, for one batch."""
    first = trl_reward("first", lambda texts, _: [1.0] * len(texts), log)
    second = trl_reward("second", lambda texts, references: [0.0, references[0] == "4"], log)
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
    reward = trl_reward("one", lambda texts, _: [0.0] * len(texts), log)
    reward(completions=["x" * 1000, ""], **columns())
    assert events[0].text.count("x") == SAMPLE_CHARACTERS
    assert events[0].text.endswith("...'")


def test_text_is_read_from_both_forms():
    assert [text_of(CHAT), text_of("plain")] == ["#### 4", "plain"]


def test_prompts_are_messages_where_the_model_has_a_template():
    records = [Record("a", "1+1?", "2", "2")]
    (row,) = to_dataset(records, build_tokenizer())
    assert row == {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "record_id": "a",
        "reference_answer": "2",
        "reference_answers": ["2"],
    }
    (row,) = to_dataset(records, build_tokenizer(chat_template=None))
    assert row["prompt"] == "1+1?\n"


def config(**changes) -> GRPOConfig:
    own = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "save_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
    }
    return GRPOConfig(**(own | changes))


def test_a_step_needs_as_many_records_as_it_has_prompts():
    _require_a_step(config(), 2)
    with pytest.raises(LoraparError, match="1 records are fewer than the 2 prompts") as caught:
        _require_a_step(config(), 1)
    assert caught.value.found == "8 completions per step, 4 per prompt"


@pytest.mark.parametrize(
    ("changes", "every"),
    [({}, None), ({"num_iterations": 2}, 2), ({"steps_per_generation": 8}, 4)],
)
def test_checkpoints_fall_between_generations(changes, every):
    if every is None:
        _require_whole_generations(config(**changes))
        return
    _require_whole_generations(config(**changes, save_steps=every))
    with pytest.raises(UsageError, match="falls within one generation") as caught:
        _require_whole_generations(config(**changes, save_steps=every - 1))
    assert caught.value.hint == f"give a multiple of {every}"


def test_vllm_must_be_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LoraparError, match="needs vLLM"):
        _vllm_arguments("colocate")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert _vllm_arguments("server") == {"use_vllm": True, "vllm_mode": "server"}
