"""Both training stages: frozen is bit-identical, active moves, runs resume to the same numbers."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Note
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.mask_file import active_elements, read_mask
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(
    learning_rate=1e-2,
    max_steps=4,
    per_device_batch_size=2,
    gradient_accumulation=2,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=1,
)
RL = RlOptions(
    learning_rate=1e-2,
    max_steps=3,
    per_device_batch_size=4,
    gradient_accumulation=2,
    num_generations=4,
    max_completion_length=12,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=1,
    # A random model is never right: rewards that differ between its completions are needed.
    rewards="format-soft,length",
)


@pytest.fixture(autouse=True)
def reward_with_spread(monkeypatch):
    """A reward that a random model's completions differ in."""
    from lorapar_cli.training.rewards.builtin import REWARDS

    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])


def moved(before, after, active):
    """Counts (active, frozen) elements whose bytes differ; a restatement without torch."""
    a = f = 0
    for name, start in before.items():
        differ = start.view(np.uint32) != after[name].view(np.uint32)
        a += int((differ & active[name]).sum())
        f += int((differ & ~active[name]).sum())
    return a, f


def adapter(run_dir, stage):
    return read_tensors(run_dir.folder(stage) / "adapter" / "adapter_model.safetensors")[0]


def active(run_dir, flag):
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / "mask.safetensors")
    return active_elements(flags, flag)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd", "adafactor"])
def test_sft_moves_active_elements_and_no_other(run_dir, optimizer):
    outcome = train_sft(run_dir, replace(SFT, optimizer=optimizer))
    chosen = active(run_dir, Flag.SFT)
    was, now = adapter(run_dir, Stage.SCORE), adapter(run_dir, Stage.TRAIN_SFT)
    moved_active, moved_frozen = moved(was, now, chosen)
    frozen = sum(int((~tensor).sum()) for tensor in chosen.values())
    assert frozen > 100
    assert moved_frozen == 0
    assert moved_active > 0.5 * sum(int(tensor.sum()) for tensor in chosen.values())
    assert outcome.manifest.counts["active_moved"] == moved_active
    assert outcome.manifest.counts["frozen_moved"] == 0


def replace(options, **changes):
    import dataclasses

    return dataclasses.replace(options, **changes)


@pytest.mark.parametrize("kl_beta", [0.0, 0.1])
def test_rl_moves_active_elements_and_no_other(run_dir, kl_beta):
    train_sft(run_dir, SFT)
    train_rl(run_dir, replace(RL, kl_beta=kl_beta))
    chosen = active(run_dir, Flag.RL)
    was, now = adapter(run_dir, Stage.TRAIN_SFT), adapter(run_dir, Stage.TRAIN_RL)
    moved_active, moved_frozen = moved(was, now, chosen)
    assert moved_frozen == 0
    assert moved_active > 0
    lines = (run_dir.folder(Stage.TRAIN_RL) / "completions.jsonl").read_text().splitlines()
    assert len(lines) == 3 * 8
    assert set(json.loads(lines[0])["rewards"]) == {"format-soft", "length"}


def test_adapter_loads_without_lorapar(run_dir, tiny_model_dir):
    train_sft(run_dir, SFT)
    folder = run_dir.folder(Stage.TRAIN_SFT) / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    ids = torch.arange(4, 20).unsqueeze(0)
    plain = base(ids).logits
    model = PeftModel.from_pretrained(base, folder)
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


def test_mask_none_trains_every_element(run_dir):
    outcome = train_sft(run_dir, SFT, mask="none")
    assert outcome.manifest.counts["active"] == outcome.manifest.counts["elements"]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def kill_at(step):
    """Returns a progress callback that stops the process once `step` is logged."""

    def progress(event):
        if isinstance(event, Advance) and event.total and event.done >= step:
            raise Killed

    return progress


@pytest.mark.parametrize(("stage", "options"), [(train_sft, SFT), (train_rl, RL)])
def test_resumed_run_ends_with_the_same_bytes(run_dir, tmp_path, stage, options):
    if stage is train_rl:
        train_sft(run_dir, SFT)
    name = Stage.TRAIN_SFT if stage is train_sft else Stage.TRAIN_RL
    straight = type(run_dir)(tmp_path / "straight")
    shutil.copytree(run_dir.root, straight.root)
    stage(straight, options)
    with pytest.raises(Killed):
        stage(run_dir, options, progress=kill_at(3))
    assert run_dir.manifest(name) is None
    outcome = stage(run_dir, options)
    assert "resumed" in outcome.manifest.notes[0]
    for file in ("adapter/adapter_model.safetensors",):
        one, two = (run.folder(name) / file for run in (straight, run_dir))
        assert one.read_bytes() == two.read_bytes()
    steps = [
        json.loads(line)["step"]
        for line in (run_dir.folder(name) / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, options.max_steps + 1))


def test_finished_result_is_kept_without_overwrite(run_dir):
    first = train_sft(run_dir, SFT)
    again = train_sft(run_dir, SFT)
    assert first.fresh
    assert not again.fresh
    with pytest.raises(LoraparError, match="other settings") as caught:
        train_sft(run_dir, replace(SFT, learning_rate=2e-2))
    assert "learning_rate" in caught.value.found
    before = (first.folder / "adapter/adapter_model.safetensors").read_bytes()
    with pytest.raises(Killed):
        train_sft(run_dir, replace(SFT, learning_rate=2e-2), overwrite=True, progress=kill_at(2))
    assert (first.folder / "adapter/adapter_model.safetensors").read_bytes() == before
    train_sft(run_dir, replace(SFT, learning_rate=2e-2), overwrite=True)
    assert (first.folder / "adapter/adapter_model.safetensors").read_bytes() != before


def test_mask_of_another_adapter_is_refused(run_dir, tmp_path):
    from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / "mask.safetensors")
    name = sorted(flags)[3]
    flags[name] = np.zeros((flags[name].shape[0] + 1, 5), np.uint8)
    other = tmp_path / "mask.safetensors"
    fingerprint = layout_fingerprint({n: t.shape for n, t in flags.items()})
    write_tensors(other, flags, {"fingerprint": fingerprint})
    with pytest.raises(LoraparError, match="does not belong") as caught:
        train_sft(run_dir, SFT, mask=str(other))
    assert name in caught.value.found
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_zero_learning_rate_is_an_error(run_dir):
    with pytest.raises(LoraparError, match="changed no element"):
        train_sft(run_dir, replace(SFT, learning_rate=0.0))
    assert run_dir.manifest(Stage.TRAIN_SFT) is None


def test_unknown_training_arguments_are_all_named(run_dir):
    with pytest.raises(UsageError) as caught:
        train_sft(run_dir, replace(SFT, training=("lr_schduler_kwargs={}", "bf16=true")))
    assert "lr_scheduler_kwargs" in caught.value.found
    assert "--dtype" in caught.value.found


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("completion_only_loss=false", "tokenized by lorapar"),
        ("packing=true", "tokenized by lorapar"),
        ("save_only_model=true", "same numbers"),
        ("eval_strategy=steps", "no records to evaluate"),
        ("push_to_hub=true", "lorapar export"),
        ("trust_remote_code=true", "--trust-remote-code"),
        ("model_init_kwargs={}", "loaded by lorapar"),
        ("adam_epsilon=[", "no YAML value"),
        ("use_liger_kernel=true", "pip install liger-kernel"),
    ],
)
def test_training_arguments_that_would_break_a_promise_are_refused(run_dir, pair, reason):
    with pytest.raises(UsageError) as caught:
        train_sft(run_dir, replace(SFT, training=(pair,)))
    assert reason in caught.value.found
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_an_option_by_its_trainer_name_is_that_option(run_dir):
    outcome = train_sft(run_dir, replace(SFT, training=("learning_rate=2e-3", "adam_epsilon=1e-6")))
    settings = outcome.manifest.settings
    assert settings["learning_rate"] == 2e-3
    assert settings["training"] == ["adam_epsilon=1e-6"]
    same = replace(SFT, learning_rate=2e-3, training=("adam_epsilon=1e-6",))
    assert not train_sft(run_dir, same).fresh


def test_unknown_dtype_is_refused(run_dir):
    with pytest.raises(UsageError, match="unknown dtype `int4`") as caught:
        train_sft(run_dir, replace(SFT, dtype="int4"))
    assert "bfloat16" in caught.value.hint


def test_stale_mask_is_refused(run_dir):
    from lorapar_cli.partition.options import PartitionOptions
    from lorapar_cli.partition.partition import partition

    train_sft(run_dir, SFT)
    partition(run_dir, PartitionOptions(theta=0.7))
    with pytest.raises(LoraparError, match="stale") as caught:
        train_rl(run_dir, RL)
    assert "mask" in caught.value.found


def test_reward_that_fails_is_named(run_dir, monkeypatch):
    from lorapar_cli.training.rewards.builtin import REWARDS

    train_sft(run_dir, SFT)
    for broken, expected in (
        (lambda texts, _: [float("nan")] * len(texts), "gave nan"),
        (lambda texts, _: [1.0], "gave 1 values"),
        (lambda texts, _: 1 / 0, "failed"),
    ):
        monkeypatch.setitem(REWARDS, "length", broken)
        with pytest.raises(LoraparError, match=f"`length` {expected}"):
            train_rl(run_dir, RL)


def test_replay_mixes_in_the_other_system(run_dir):
    outcome = train_sft(run_dir, replace(SFT, replay=0.25))
    assert outcome.manifest.counts["records"] == {"system1": 12, "system2": 4}


@pytest.mark.parametrize("init", ["pissa", "olora", "gaussian"])
def test_other_inits_train_from_the_function_of_the_base(make_run, tiny_model_dir, init):
    """KL above zero: making the reference must not draw the init again and change the policy."""
    run = make_run(init)
    ids = torch.arange(4, 20).unsqueeze(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = base(ids).logits
    start = PeftModel.from_pretrained(base, run.folder(Stage.SCORE) / "adapter")
    if init != "gaussian":
        torch.testing.assert_close(start(ids).logits, plain, rtol=1e-4, atol=1e-4)
    train_sft(run, SFT)
    train_rl(run, replace(RL, kl_beta=0.1))
    first = json.loads((run.folder(Stage.TRAIN_RL) / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(first["kl"]) < 1e-6
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        assert run.manifest(stage).counts["frozen_moved"] == 0
        fresh = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        loaded = PeftModel.from_pretrained(fresh, run.folder(stage) / "adapter")
        assert not torch.allclose(loaded(ids).logits, plain, atol=1e-4)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_adapter_of_a_quantised_base_stays_float32(make_run, quantize):
    pytest.importorskip("bitsandbytes")
    run = make_run("orthogonal")
    # Steps that bfloat16 would round away: most elements are near 0.1, a step is 1e-5.
    options = replace(SFT, quantize=quantize, learning_rate=1e-5)
    counts = train_sft(run, options).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.9 * counts["active"]
    train_rl(run, replace(RL, quantize=quantize, learning_rate=1e-5, kl_beta=0.1))
    counts = run.manifest(Stage.TRAIN_RL).counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.9 * counts["active"]


@pytest.mark.parametrize("optimizer", ["adamw_bnb_8bit", "lion_8bit", "adamw_torch_fused"])
def test_more_optimizers_leave_frozen_elements_alone(run_dir, optimizer):
    if "8bit" in optimizer:
        pytest.importorskip("bitsandbytes")
    counts = train_sft(run_dir, replace(SFT, optimizer=optimizer)).manifest.counts
    assert counts["frozen_moved"] == 0
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


def test_dry_run_tells_what_would_be_and_writes_nothing(run_dir):
    before = sorted(path for path in run_dir.root.rglob("*"))
    sft = train_sft(run_dir, replace(SFT, max_steps=-1, epochs=2), dry_run=True).manifest
    # 12 records in batches of 2, 2 of them a step: 3 steps an epoch.
    assert sft.metrics["steps"] == 6
    assert sft.metrics["learning_rates"][5] < SFT.learning_rate
    adapter_bytes = 4 * sft.counts["elements"]
    assert sft.metrics["bytes"]["adapter"] == adapter_bytes
    assert sft.metrics["bytes"]["optimizer state (AdamW)"] == 8 * sft.counts["active"]
    source = run_dir.folder(Stage.SCORE) / "adapter"
    rl = train_rl(run_dir, RL, adapter=source, dry_run=True).manifest
    assert rl.metrics["steps"] == RL.max_steps
    assert sorted(path for path in run_dir.root.rglob("*")) == before


def test_shown_tokens_mark_what_carries_loss(run_dir):
    shown = []
    train_sft(run_dir, SFT, dry_run=True, show_tokens=2, show=shown.extend)
    assert len(shown) == 2
    text = "".join(token for token, _ in shown[0])
    loss = "".join(token for token, carries in shown[0] if carries)
    assert "What is" in text
    assert "What is" not in loss
    assert loss.startswith("#### ")
    assert loss.endswith("<eos>")


def test_data_may_be_the_other_system_all_or_a_file(run_dir, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "1+1?", "answer": "#### 2"}\n' * 3)
    for data, expected in (
        ("system2", {"system1": 0, "system2": 12}),
        ("all", {"system1": 12, "system2": 12}),
    ):
        manifest = train_sft(run_dir, replace(SFT, data=data), dry_run=True).manifest
        assert manifest.counts["records"] == expected
    manifest = train_sft(run_dir, replace(SFT, data=str(path)), dry_run=True).manifest
    assert manifest.counts["trained_records"] == 3
    with pytest.raises(UsageError, match="--replay"):
        train_sft(run_dir, replace(SFT, data="all", replay=0.5))


def test_flat_rewards_are_said_and_stop_the_run_if_asked(run_dir, monkeypatch):
    from lorapar_cli.training.rewards.builtin import REWARDS

    train_sft(run_dir, SFT)
    calls = []

    def flat_after_one(texts, _):
        calls.append(texts)
        return [len(text) if len(calls) == 1 else 1.0 for text in texts]

    monkeypatch.setitem(REWARDS, "length", flat_after_one)
    options = replace(RL, max_steps=9, rewards="length", patience_steps=2, stop_without_spread=True)
    manifest = train_rl(run_dir, options).manifest
    assert manifest.metrics["steps"] == 3
    assert "no group of completions had a spread" in manifest.notes[-1]


def test_reward_may_be_a_users_function(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").write_text(
        "def short(completions, references):\n    return [1 / (1 + len(c)) for c in completions]\n"
    )
    train_sft(run_dir, SFT)
    manifest = train_rl(run_dir, replace(RL, rewards="my_rewards.short=2")).manifest
    assert manifest.counts["active_moved"] > 0
    line = (run_dir.folder(Stage.TRAIN_RL) / "completions.jsonl").read_text().splitlines()[0]
    assert 0 < json.loads(line)["rewards"]["my_rewards.short"] <= 1
    with pytest.raises(UsageError, match="nope"):
        train_rl(run_dir, replace(RL, rewards="my_rewards.nope"))


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_runs_train_in_spite_of_warm_up(run_dir, steps):
    counts = train_sft(run_dir, replace(SFT, max_steps=steps, warmup=0.5)).manifest.counts
    assert counts["active_moved"] > 0.5 * counts["active"]


def test_code_reward_needs_permission_and_reads_the_tests_of_the_data(run_dir, tmp_path):
    path = tmp_path / "programs.jsonl"
    row = {
        "task_id": "t/0",
        "prompt": "def one():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
        "entry_point": "one",
    }
    path.write_text(json.dumps(row) + "\n")
    train_sft(run_dir, SFT)
    options = replace(RL, data=str(path), rewards="code,length", max_steps=1)
    with pytest.raises(LoraparError, match="1 records are fewer than the 2 prompts"):
        train_rl(run_dir, options, unsafe_code_execution=True)
    path.write_text((json.dumps(row) + "\n") * 2)
    with pytest.raises(UsageError, match="runs programs"):
        train_rl(run_dir, options)
    manifest = train_rl(run_dir, options, unsafe_code_execution=True).manifest
    assert manifest.counts["trained_records"] == 2
    lines = (run_dir.folder(Stage.TRAIN_RL) / "completions.jsonl").read_text().splitlines()
    assert {json.loads(line)["rewards"]["code"] for line in lines} <= {0.0, 1.0}


def test_order_may_be_reversed(run_dir):
    """The paper's Table 7: GRPO first, from the scored adapter, then SFT from its result."""
    train_rl(run_dir, RL, start="init")
    train_sft(run_dir, SFT, start="rl")
    was, now = adapter(run_dir, Stage.TRAIN_RL), adapter(run_dir, Stage.TRAIN_SFT)
    moved_active, moved_frozen = moved(was, now, active(run_dir, Flag.SFT))
    assert moved_frozen == 0
    assert moved_active > 0


def test_template_replaces_the_models_and_is_remembered(run_dir):
    text = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    shown = []
    train_sft(run_dir, replace(SFT, template=text), show_tokens=1, show=shown.extend)
    assert "".join(token for token, _ in shown[0]).startswith("[user]What is")
    assert run_dir.template() == text
    rl = train_rl(run_dir, RL).manifest
    assert rl.settings["template"] == text


def test_long_records_are_left_out_and_named(run_dir):
    # Tokens are bytes here; System-1 records have 27 to 30 of them.
    outcome = train_sft(run_dir, replace(SFT, max_length=28), dry_run=True).manifest
    assert 0 < outcome.counts["trained_records"] < 12
    assert "`s1-" in outcome.notes[0]
    with pytest.raises(LoraparError, match="longer than 5 tokens"):
        train_sft(run_dir, replace(SFT, max_length=5), dry_run=True)


def test_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(run_dir):
    options = replace(SFT, learning_rate=1e30, scheduler="constant", warmup=0.0, max_grad_norm=1e30)
    with pytest.raises(LoraparError, match=r"not finite|loss is|infinite") as caught:
        train_sft(run_dir, options)
    assert "--learning-rate" in caught.value.hint
    assert run_dir.manifest(Stage.TRAIN_SFT) is None
    checkpoints = list((run_dir.folder(Stage.TRAIN_SFT) / "checkpoints").glob("*/complete"))
    assert checkpoints


def test_mask_without_an_active_element_is_refused(run_dir, tmp_path):
    from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / "mask.safetensors")
    none = {name: np.zeros_like(tensor) for name, tensor in flags.items()}
    fingerprint = layout_fingerprint({n: t.shape for n, t in flags.items()})
    write_tensors(tmp_path / "none.safetensors", none, {"fingerprint": fingerprint})
    with pytest.raises(LoraparError, match="no element is active"):
        train_sft(run_dir, SFT, mask=str(tmp_path / "none.safetensors"))


def test_empty_split_is_refused(run_dir):
    (run_dir.folder(Stage.CLASSIFY) / "system1.jsonl").write_text("")
    source = run_dir.folder(Stage.SCORE) / "adapter"
    with pytest.raises(LoraparError, match="nothing to train on"):
        train_sft(run_dir, SFT, adapter=source)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_bases_train_a_float32_adapter(run_dir, dtype):
    counts = train_sft(run_dir, replace(SFT, dtype=dtype)).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.5 * counts["active"]
    assert {t.dtype.name for t in adapter(run_dir, Stage.TRAIN_SFT).values()} == {"float32"}


def test_a_sample_is_shown_now_and_then(run_dir):
    train_sft(run_dir, SFT)
    events = []
    train_rl(run_dir, RL, progress=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(note.startswith("step 1, a completion of `s2-") for note in notes)


def test_trackers_are_checked_before_anything_is_loaded(run_dir):
    with pytest.raises(UsageError, match="did you mean `wandb`"):
        train_sft(run_dir, replace(SFT, report_to="wandbb"))
    if importlib.util.find_spec("trackio") is None:
        with pytest.raises(LoraparError, match="`trackio` is not installed"):
            train_sft(run_dir, replace(SFT, report_to="trackio"))


def test_checkpoints_inside_of_one_generation_are_refused(run_dir):
    source = run_dir.folder(Stage.SCORE) / "adapter"
    twice = replace(RL, save_steps=1, training=("num_iterations=2",))
    with pytest.raises(UsageError, match="falls inside of one generation") as caught:
        train_rl(run_dir, twice, adapter=source)
    assert caught.value.hint == "give a multiple of 2"
    assert run_dir.manifest(Stage.TRAIN_RL) is None
    outcome = train_rl(run_dir, replace(twice, save_steps=2), adapter=source, overwrite=True)
    assert outcome.manifest.counts["frozen_moved"] == 0
