"""`train-sft`: frozen elements are bit-identical, active ones move, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import TokenView
from lorapar_cli.names import Artifact, Flag, Stage, split_file
from lorapar_cli.stage_records.training import SftRecord
from lorapar_cli.store.mask_file import read_mask
from lorapar_cli.store.records import Record
from lorapar_cli.training.train_sft import train_sft
from tests.pipeline_runs import hold_out
from tests.training.training_runs import (
    SFT,
    Killed,
    active,
    adapter,
    adapter_bytes,
    kill_at,
    moved,
    write_mask,
)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd", "adafactor"])
def test_active_elements_move_and_no_other(run_dir, optimizer):
    outcome = train_sft(run_dir, replace(SFT, optimizer=optimizer))
    chosen = active(run_dir, Flag.SFT)
    active_moved, frozen_moved = moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
    assert sum(int((~tensor).sum()) for tensor in chosen.values()) > 100
    assert frozen_moved == 0
    assert active_moved > 0.5 * sum(int(tensor.sum()) for tensor in chosen.values())
    record = outcome.manifest.record(SftRecord)
    assert record.counts["active_moved"] == active_moved
    assert record.counts["frozen_moved"] == 0
    assert list(outcome.manifest.counts) == [
        *("records", "trained_records", "loss_tokens"),
        *("elements", "active", "active_moved", "frozen_moved"),
    ]
    assert list(outcome.manifest.metrics) == [
        *("processes", "engine", "steps", "loss", "learning_rate", "learning_rate_from"),
    ]


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param("adamw_bnb_8bit", marks=pytest.mark.extra("bitsandbytes")),
        pytest.param("lion_8bit", marks=pytest.mark.extra("bitsandbytes")),
        "adamw_torch_fused",
    ],
)
def test_more_optimizers_leave_frozen_elements_alone(run_dir, optimizer):
    counts = train_sft(run_dir, replace(SFT, optimizer=optimizer)).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.5 * counts["active"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_bases_train_a_float32_adapter(run_dir, dtype):
    counts = train_sft(run_dir, replace(SFT, dtype=dtype)).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.5 * counts["active"]
    assert {t.dtype.name for t in adapter(run_dir, Stage.TRAIN_SFT).values()} == {"float32"}


def test_adapter_loads_without_lorapar(run_dir, tiny_model_dir):
    train_sft(run_dir, SFT)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    ids = torch.arange(4, 20).unsqueeze(0)
    plain = base(ids).logits
    model = PeftModel.from_pretrained(base, run_dir.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER)
    loaded = {
        name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name
    }
    for name, tensor in adapter(run_dir, Stage.TRAIN_SFT).items():
        assert np.array_equal(loaded[name].detach().numpy(), tensor)
    assert not torch.allclose(plain, model(ids).logits, atol=1e-4)


def test_clipping_counts_active_elements_only(run_dir):
    """With plain SGD at rate 1 a step's length is the clipped norm of what may move."""
    options = replace(
        SFT,
        optimizer="sgd",
        learning_rate=1.0,
        max_steps=1,
        weight_decay=0.0,
        max_grad_norm=1e-3,
        scheduler="constant",
        warmup=0.0,
    )
    train_sft(run_dir, options)
    was, now = adapter(run_dir, Stage.SCORE), adapter(run_dir, Stage.TRAIN_SFT)
    length = np.sqrt(sum(((now[n].astype("f8") - was[n]) ** 2).sum() for n in was))
    assert length == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_runs_train_in_spite_of_warm_up(run_dir, steps):
    counts = train_sft(run_dir, replace(SFT, max_steps=steps, warmup=0.5)).manifest.counts
    assert counts["active_moved"] > 0.5 * counts["active"]


def test_gradient_checkpointing_gives_the_same_adapter(run_dir, tmp_path):
    other = type(run_dir)(tmp_path / "other")
    shutil.copytree(run_dir.root, other.root)
    options = replace(SFT, lora_dropout=0.0)
    train_sft(run_dir, options)
    train_sft(other, replace(options, gradient_checkpointing=True))
    one, two = adapter(run_dir, Stage.TRAIN_SFT), adapter(other, Stage.TRAIN_SFT)
    for name, tensor in one.items():
        np.testing.assert_allclose(two[name], tensor, rtol=0, atol=1e-4)


def test_mask_none_trains_every_element(run_dir):
    counts = train_sft(run_dir, replace(SFT, mask="none")).manifest.counts
    assert counts["active"] == counts["elements"]


def test_mask_of_another_adapter_is_refused(run_dir, tmp_path):
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / Artifact.MASK)
    name = sorted(flags)[3]
    flags[name] = np.zeros((flags[name].shape[0] + 1, 5), np.uint8)
    write_mask(tmp_path / "mask.safetensors", flags)
    with pytest.raises(LoraparError, match="does not belong") as caught:
        train_sft(run_dir, replace(SFT, mask=str(tmp_path / "mask.safetensors")))
    assert name in caught.value.found
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_mask_without_an_active_element_is_refused(run_dir, tmp_path):
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / Artifact.MASK)
    write_mask(tmp_path / "none.safetensors", {name: np.zeros_like(flags[name]) for name in flags})
    with pytest.raises(LoraparError, match="no element is active"):
        train_sft(run_dir, replace(SFT, mask=str(tmp_path / "none.safetensors")))


def test_finished_result_is_kept_without_overwrite(run_dir):
    first = train_sft(run_dir, SFT)
    assert first.fresh
    assert not train_sft(run_dir, SFT).fresh
    other = replace(SFT, learning_rate=2e-2)
    with pytest.raises(LoraparError, match="other settings") as caught:
        train_sft(run_dir, other)
    assert "learning_rate" in caught.value.found
    before = adapter_bytes(run_dir, Stage.TRAIN_SFT)
    with pytest.raises(Killed):
        train_sft(run_dir, replace(other, overwrite=True), progress=kill_at(2))
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) == before
    train_sft(run_dir, replace(other, overwrite=True))
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) != before


def test_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(run_dir):
    options = replace(SFT, learning_rate=1e30, scheduler="constant", warmup=0.0, max_grad_norm=1e30)
    with pytest.raises(LoraparError, match=r"not finite|loss is|infinite") as caught:
        train_sft(run_dir, options)
    assert "--learning-rate" in caught.value.hint
    assert run_dir.manifest(Stage.TRAIN_SFT) is None
    folder = run_dir.folder(Stage.TRAIN_SFT) / Artifact.CHECKPOINTS
    assert list(folder.glob("*/complete"))


def test_an_option_by_its_trainer_name_is_that_option(run_dir):
    outcome = train_sft(run_dir, replace(SFT, training=("learning_rate=2e-3", "adam_epsilon=1e-6")))
    settings = outcome.manifest.settings
    assert settings["learning_rate"] == 2e-3
    assert settings["training"] == ["adam_epsilon=1e-6"]
    same = replace(SFT, learning_rate=2e-3, training=("adam_epsilon=1e-6",))
    assert not train_sft(run_dir, same).fresh


def test_the_manifest_holds_every_option_that_decides_and_none_of_how_it_ran(run_dir):
    settings = train_sft(run_dir, replace(SFT, max_steps=1)).manifest.settings
    assert set(settings) == {
        *("learning_rate", "epochs", "max_steps", "per_device_batch_size", "scheduler", "warmup"),
        *("gradient_accumulation", "weight_decay", "max_grad_norm", "optimizer", "lora_dropout"),
        *("max_length", "replay", "gradient_checkpointing", "save_steps", "dtype", "quantize"),
        *("data", "report_to", "seed", "template", "template_arg", "training", "model"),
        *("replay_source", "replay_temperature", "sample_batch_size", "find_lr", "find_lr_steps"),
        *("forgetting", "watch", "eval_steps", "validation", "keep", "stop_after"),
        *("eval_match", "eval_max_new_tokens", "eval_batch_size", "attention"),
        *("compile", "liger", "packing"),
    }


def test_shown_tokens_mark_what_contributes_to_the_loss(run_dir):
    events = []
    train_sft(run_dir, replace(SFT, dry_run=True, show_tokens=2), progress=events.append)
    (view,) = [event for event in events if isinstance(event, TokenView)]
    assert len(view.records) == 2
    text = "".join(token for token, _ in view.records[0])
    loss = "".join(token for token, contributes in view.records[0] if contributes)
    assert "What is" in text
    assert "What is" not in loss
    assert loss.startswith("#### ")
    assert loss.endswith("<eos>")


def test_tokens_are_shown_of_a_result_that_is_up_to_date(run_dir):
    options = replace(SFT, max_steps=1)
    train_sft(run_dir, options)
    events = []
    again = train_sft(run_dir, replace(options, show_tokens=3), progress=events.append)
    assert not again.fresh
    (view,) = [event for event in events if isinstance(event, TokenView)]
    assert len(view.records) == 3


def test_template_replaces_the_models_and_is_remembered(run_dir, tmp_path):
    text = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    (tmp_path / "mine.jinja").write_text(text)
    events = []
    options = replace(SFT, template=tmp_path / "mine.jinja", show_tokens=1)
    outcome = train_sft(run_dir, options, progress=events.append)
    (view,) = [event for event in events if isinstance(event, TokenView)]
    assert "".join(token for token, _ in view.records[0]).startswith("[user]What is")
    assert outcome.manifest.settings["template"] == run_dir.template() == text


def test_template_arguments_are_recorded_and_a_later_stage_has_its_own(run_dir, tmp_path):
    template = tmp_path / "chat.jinja"
    template.write_text(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if mood %}{{ mood }}"
        "{% endif %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        encoding="utf-8",
    )
    shown = []
    options = replace(SFT, template=template, template_arg=("mood=calm",), max_steps=2)
    first = train_sft(run_dir, replace(options, show_tokens=1), progress=shown.append)
    assert first.manifest.settings["template_arg"] == ['mood="calm"']
    (view,) = [event for event in shown if isinstance(event, TokenView)]
    assert "calm<|assistant|>" in "".join(text for text, _ in view.records[0])
    again = replace(SFT, from_="sft", out=tmp_path / "again", max_steps=2)
    assert train_sft(run_dir, again).manifest.settings["template_arg"] == ['mood="calm"']
    other = replace(again, template_arg=("mood=wild",), out=tmp_path / "other")
    assert train_sft(run_dir, other).manifest.settings["template_arg"] == ['mood="wild"']


def test_replay_mixes_in_the_other_system(run_dir):
    outcome = train_sft(run_dir, replace(SFT, replay=0.25, max_steps=1))
    assert outcome.manifest.counts["records"] == {"system1": 12, "system2": 4}
    assert outcome.manifest.counts["replayed_records"] == 4


def test_records_too_long_to_be_trained_on_do_not_count_as_replayed(run_dir, tmp_path):
    path = tmp_path / "more.jsonl"
    long = "What is 1 plus 1?" + " Think of it." * 40
    prompts = ["What is 1 plus 1?", "What is 1 plus 2?", "What is 1 plus 3?", long]
    path.write_text("".join(json.dumps({"prompt": p, "completion": "2"}) + "\n" for p in prompts))
    options = replace(SFT, replay=0.25, replay_source=str(path), max_length=60, dry_run=True)
    counts = train_sft(run_dir, options).manifest.counts
    assert (counts["trained_records"], counts["replayed_records"]) == (15, 3)


def test_data_may_be_the_other_system_all_or_a_file(run_dir, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "1+1?", "answer": "#### 2"}\n' * 3)
    dry = replace(SFT, dry_run=True)
    for data, expected in (
        ("system2", {"system1": 0, "system2": 12}),
        ("all", {"system1": 12, "system2": 12}),
    ):
        assert train_sft(run_dir, replace(dry, data=data)).manifest.counts["records"] == expected
    counts = train_sft(run_dir, replace(dry, data=str(path))).manifest.counts
    assert counts["trained_records"] == 3


def test_long_records_are_left_out_and_named(run_dir):
    # Tokens are bytes here; System-1 records have 27 to 30 of them.
    manifest = train_sft(run_dir, replace(SFT, max_length=28, dry_run=True)).manifest
    assert 0 < manifest.counts["trained_records"] < 12
    (note,) = [note for note in manifest.notes if "over 28 tokens" in note]
    assert "`s1-" in note
    with pytest.raises(LoraparError, match="longer than 5 tokens"):
        train_sft(run_dir, replace(SFT, max_length=5, dry_run=True))


@pytest.mark.parametrize("trained", ["data", "replay_source"])
def test_records_that_eval_tests_on_are_noted_where_they_are_trained_on(run_dir, trained):
    held_out = run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT
    hold_out(run_dir, [Record(str(n), f"What is {n}?", "#### 1") for n in range(5)])
    options = replace(SFT, replay=0.5 if trained == "replay_source" else 0, dry_run=True)
    notes = train_sft(run_dir, replace(options, **{trained: str(held_out)})).manifest.notes
    (note,) = [note for note in notes if "`lorapar eval` tests on" in note]
    assert note.startswith("5 of 17 " if trained == "replay_source" else "5 of 5 ")
    notes = train_sft(run_dir, replace(SFT, dry_run=True)).manifest.notes
    assert not [note for note in notes if "`lorapar eval` tests on" in note]


def test_empty_split_is_refused(run_dir, tmp_path):
    (tmp_path / split_file("system1")).write_text("")
    with pytest.raises(LoraparError, match="nothing to train on"):
        train_sft(run_dir, replace(SFT, splits=tmp_path))


def test_a_damaged_split_is_refused(run_dir):
    path = run_dir.folder(Stage.CLASSIFY) / split_file("system1")
    path.write_text(path.read_text().replace("What", "Whar", 1))
    with pytest.raises(LoraparError, match="is not the file that `classify` wrote"):
        train_sft(run_dir, replace(SFT, adapter=run_dir.folder(Stage.SCORE) / Artifact.ADAPTER))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": ("lr_schduler_kwargs={}", "bf16=true")}, "does not take"),
        ({"optimizer": "adamw"}, "unknown optimizer `adamw`"),
        ({"report_to": "swanlab"}, "`swanlab`"),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_before_anything_is_written(
    run_dir, monkeypatch, change, message
):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LoraparError, match=message):
        train_sft(run_dir, replace(SFT, **change))
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_own_default_start_is_the_scored_adapter(run_dir):
    train_sft(run_dir, replace(SFT, max_steps=1))
    inputs = run_dir.manifest(Stage.TRAIN_SFT).inputs
    assert inputs["adapter"]["path"] == "score/adapter/adapter_model.safetensors"
    with pytest.raises(UsageError, match="--from"):
        replace(SFT, from_="scored")
