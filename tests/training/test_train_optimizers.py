"""Every optimizer that is accepted: frozen elements are bit-identical, resumed runs are the same.

Matrices here have more than 4,096 elements, below which 8-bit optimizers keep 32-bit state.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from transformers.training_args import OptimizerNames

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance
from lorapar_cli.names import Flag, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.mask_file import active_elements, read_mask
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.masking import optimizers
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.preflight import check_training_options
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

ACCEPTED = [each.value for each in OptimizerNames if optimizers._refusal(each.value) is None]
# No machine of the project runs these.
ELSEWHERE = {"adamw_torch_xla", "adamw_torch_npu_fused", "adamw_anyprecision"}
# Of bitsandbytes' many names the default suite runs these.
_FEW = {"adamw_bnb_8bit", "lion_8bit", "ademamix_8bit"}


def with_marks(name):
    """Returns a parameter that is skipped where what the optimizer needs is not installed."""
    needed = [
        module for parts, module, _ in optimizers._PACKAGES if any(part in name for part in parts)
    ]
    marks = [pytest.mark.extra(*needed)] if needed else []
    if "bitsandbytes" in needed and name not in _FEW:
        marks.append(pytest.mark.slow)
    return pytest.param(name, marks=marks)


HERE = [with_marks(name) for name in ACCEPTED if name not in ELSEWHERE]
# One of each kind.
IN_RL = [with_marks(name) for name in ("adamw_bnb_8bit", "adafactor", "schedule_free_adamw")]
SFT = SftOptions(
    learning_rate=1e-2,
    # RAdam moves nothing in its first steps.
    max_steps=8,
    per_device_batch_size=4,
    gradient_accumulation=1,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=6,
    warmup=0.0,
)
RL = RlOptions(
    learning_rate=1e-2,
    max_steps=3,
    per_device_batch_size=8,
    gradient_accumulation=1,
    num_generations=4,
    max_completion_length=8,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=2,
    warmup=0.0,
    rewards="length",
)


@pytest.fixture(scope="module")
def large(tmp_path_factory, labelled_records):
    """A partitioned run directory whose LoRA matrices have 10,240 elements and more."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.conftest import build_tokenizer
    from tests.pipeline_runs import write_splits

    folder = tmp_path_factory.mktemp("large")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=160,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    run = RunDir(folder / "run")
    write_splits(run, labelled_records, str(folder / "model"))
    targets = ("q_proj", "down_proj")
    score(run, ScoreOptions(r=64, lora_alpha=64, dtype="float32", target_modules=targets))
    partition(run, PartitionOptions(theta=0.9))
    return run


@pytest.fixture
def run_dir(large, tmp_path):
    return copy(large, tmp_path / "run")


@pytest.fixture(autouse=True)
def reward_with_spread(monkeypatch):
    """A reward that differs between the completions of a random model."""
    from lorapar_cli.training.rewards.builtin import REWARDS

    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])


def copy(run, folder):
    shutil.copytree(run.root, folder)
    return RunDir(folder)


def options_for(name, options):
    schedule = "constant" if name.startswith("schedule_free") else options.scheduler
    return dataclasses.replace(options, optimizer=name, scheduler=schedule)


def adapter_path(run, stage):
    return run.folder(stage) / "adapter" / "adapter_model.safetensors"


def moved(run, before, after, flag):
    """Counts (active, frozen) elements whose bytes differ; a restatement without torch."""
    flags, _ = read_mask(run.folder(Stage.PARTITION) / "mask.safetensors")
    was, now = (read_tensors(adapter_path(run, stage))[0] for stage in (before, after))
    active = active_elements(flags, flag)
    assert min(tensor.size for tensor in was.values()) > 2 * 4096
    found = [0, 0]
    for name in was:
        differ = was[name].view(np.uint32) != now[name].view(np.uint32)
        found[0] += int((differ & active[name]).sum())
        found[1] += int((differ & ~active[name]).sum())
    return tuple(found), sum(int(tensor.sum()) for tensor in active.values())


class Killed(BaseException):
    """Stands in for a kill: nothing may catch it."""


def kill_at(step):
    def progress(event):
        if isinstance(event, Advance) and event.total and event.done >= step:
            raise Killed

    return progress


def train_and_resume(stage, run, name, options, folder):
    """Trains twice, once with a kill in between; returns the straight run."""
    straight = copy(run, folder)
    train = train_sft if stage is Stage.TRAIN_SFT else train_rl
    manifest = train(straight, options_for(name, options)).manifest
    with pytest.raises(Killed):
        train(run, options_for(name, options), progress=kill_at(options.max_steps))
    resumed = train(run, options_for(name, options)).manifest
    assert any("resumed" in note for note in resumed.notes)
    one, two = (adapter_path(each, stage).read_bytes() for each in (straight, run))
    assert one == two
    assert not any("frozen elements too" in note for note in manifest.notes)
    return straight


@pytest.mark.parametrize("name", HERE)
def test_sft_keeps_frozen_elements_and_resumes_to_the_same_bytes(run_dir, tmp_path, name):
    straight = train_and_resume(Stage.TRAIN_SFT, run_dir, name, SFT, tmp_path / "straight")
    (active, frozen), all_active = moved(straight, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
    assert frozen == 0
    assert active > 0.5 * all_active


@pytest.mark.parametrize("name", IN_RL)
def test_grpo_keeps_frozen_elements_and_resumes_to_the_same_bytes(run_dir, tmp_path, name):
    options = dataclasses.replace(RL, kl_beta=0.1)
    source = run_dir.folder(Stage.SCORE)
    shutil.copytree(source, run_dir.folder(Stage.TRAIN_SFT))
    straight = train_and_resume(Stage.TRAIN_RL, run_dir, name, options, tmp_path / "straight")
    (active, frozen), all_active = moved(straight, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL)
    assert frozen == 0
    assert active > 0.5 * all_active


def optimizer_state(run):
    path = run.folder(Stage.TRAIN_SFT) / "checkpoints" / "checkpoint-8" / "optimizer.pt"
    return torch.load(path, weights_only=True)


@pytest.mark.extra("bitsandbytes")
def test_state_is_quantised_at_this_size(run_dir):
    """Otherwise the tests above would say nothing about 8-bit state."""
    train_sft(run_dir, options_for("adamw_bnb_8bit", SFT))
    states = optimizer_state(run_dir)["state"].values()
    moments = [state["__bnb_optimizer_quant_state__"]["state1"] for state in states]
    assert {moment.dtype for moment in moments if len(moment) >= 4096} == {torch.uint8}


def test_default_keeps_state_for_active_elements_only(run_dir):
    counts = train_sft(run_dir, SFT).manifest.counts
    state = optimizer_state(run_dir)["state"].values()
    assert sum(each["exp_avg"].numel() for each in state) == counts["active"]


@pytest.mark.extra("schedulefree")
def test_schedule_free_result_is_the_point_to_evaluate_at(run_dir):
    """It trains at y and is to be used at x = y + (1 - 1/beta1) (z - y)."""
    train_sft(run_dir, options_for("schedule_free_adamw", SFT))
    folder = run_dir.folder(Stage.TRAIN_SFT)
    y = read_tensors(folder / "checkpoints/checkpoint-8/adapter_model.safetensors")[0]
    x = read_tensors(adapter_path(run_dir, Stage.TRAIN_SFT))[0]
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / "mask.safetensors")
    active = active_elements(flags, Flag.SFT)
    for index, name in enumerate(sorted(y)):
        z = optimizer_state(run_dir)["state"][index]["z"].numpy()
        chosen = y[name][active[name]].astype("f8")
        wanted = chosen + (1 - 1 / 0.9) * (z - chosen)
        np.testing.assert_allclose(x[name][active[name]], wanted, rtol=1e-5, atol=1e-7)
        assert np.abs(wanted - chosen).max() > 1e-5


@pytest.mark.extra("schedulefree")
def test_warm_up_as_a_share_reaches_optimizers_as_steps(run_dir):
    """schedulefree divides by it: a share of 0.03 would make the first step 33 times as long."""
    options = dataclasses.replace(options_for("schedule_free_adamw", SFT), warmup=0.3)
    train_sft(run_dir, options)
    assert optimizer_state(run_dir)["param_groups"][0]["warmup_steps"] == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("galore_adamw", "cannot train active elements only"),
        ("lomo", "cannot train active elements only"),
        ("schedule_free_sgd", "needs `schedulefree`"),
    ],
)
def test_refused_before_anything_is_loaded(run_dir, monkeypatch, name, said):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr("lorapar_cli.models.base_model.load_tokenizer", None)
    monkeypatch.setattr("lorapar_cli.training.jobs.load_masked_model", None)
    with pytest.raises(LoraparError, match=said):
        train_sft(run_dir, SftOptions(optimizer=name))
    with pytest.raises(LoraparError, match=said):
        train_rl(run_dir, RlOptions(optimizer=name, from_="init"))
    for options in (SftOptions(optimizer=name), RlOptions(optimizer=name)):
        with pytest.raises(LoraparError, match=said):
            check_training_options(options, ["optimizer"])
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        assert not run_dir.folder(stage).exists()


def test_refused_under_the_library_s_own_name_for_the_option_too(run_dir):
    with pytest.raises(UsageError, match="`galore_adamw` cannot train active elements only"):
        train_sft(run_dir, SftOptions(training=("optim=galore_adamw",)))


def test_optimizer_has_one_name_a_run(run_dir):
    with pytest.raises(UsageError) as caught:
        train_sft(run_dir, SftOptions(training=("optim=sgd",)), given=["optimizer"])
    assert "--optimizer" in caught.value.found


@pytest.mark.extra("schedulefree")
def test_measuring_leaves_a_schedule_free_optimizer_where_it_was(run_dir, tmp_path):
    """It is measured at the point to evaluate at, and trains on from the other one."""
    plain = copy(run_dir, tmp_path / "plain")
    options = options_for("schedule_free_adamw", SFT)
    neutral = tmp_path / "neutral.txt"
    neutral.write_text("The sun rose over the hills.")
    watched = dataclasses.replace(options, forgetting=True, watch=2, neutral=neutral)
    outcome = train_sft(run_dir, watched)
    train_sft(plain, options)
    assert adapter_path(run_dir, Stage.TRAIN_SFT).read_bytes() == (
        adapter_path(plain, Stage.TRAIN_SFT).read_bytes()
    )
    # The last step's figures are those of what is published.
    log = (run_dir.folder(Stage.TRAIN_SFT) / "metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in log if "neutral_loss" in line][-1]
    after = outcome.manifest.metrics["forgetting"]["after"]
    assert last["neutral_loss"] == after["neutral_loss"]
    again = dataclasses.replace(watched, watch=None)
    shutil.rmtree(run_dir.folder(Stage.TRAIN_SFT))
    assert train_sft(run_dir, again).manifest.metrics["forgetting"]["after"] == after
