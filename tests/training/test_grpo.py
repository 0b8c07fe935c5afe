"""Around GRPO's trainer: rows that it is given, sizes that fit."""

import pytest
from trl import GRPOConfig

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.store.records import Record
from lorapar_cli.training.grpo import (
    _require_a_step,
    _require_whole_generations,
    _vllm_arguments,
    to_dataset,
)
from tests.conftest import build_tokenizer


def test_rows_hold_the_reference_and_all_accepted_answers():
    records = [
        Record("a", "Capital?", "Paris", "Paris", reference_answers=["Paris", "paris, France"]),
        Record("b", "1+1?", "#### 2", "2"),
        Record("c", "Hi", "Well"),
    ]
    rows = to_dataset(records, build_tokenizer())
    assert rows["reference_answer"][:] == ["Paris", "2", None]
    assert rows["reference_answers"][:] == [["Paris", "paris, France"], ["2"], []]


def test_prompts_are_messages_where_the_model_has_a_template():
    records = [Record("a", "1+1?", "2", "2")]
    (row,) = to_dataset(records, build_tokenizer())
    assert row == {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "record_id": "a",
        "reference_answer": "2",
        "reference_answers": ["2"],
        "in_block": False,
    }
    (row,) = to_dataset(records, build_tokenizer(chat_template=None))
    assert row["prompt"] == "1+1?\n"
    (row,) = to_dataset(records, build_tokenizer("{{ messages[0].content }}<think>\n"))
    assert row["in_block"]


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
    with pytest.raises(LoraparError, match="1 record is fewer than the 2 prompts") as caught:
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
