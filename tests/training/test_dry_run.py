"""What a dry run tells: steps, learning rates and memory, and that it leaves nothing behind."""

from dataclasses import replace

import pytest
import torch

from lorapar_cli.names import Stage
from lorapar_cli.stage_records.training import DryRunRecord
from lorapar_cli.training.dry_run import memory_bytes
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT


@pytest.mark.usefixtures("reward_with_spread")
def test_a_dry_run_tells_what_would_be_and_writes_nothing(run_dir):
    before = sorted(path for path in run_dir.root.rglob("*"))
    options = replace(SFT, max_steps=-1, epochs=2.0, dry_run=True)
    sft = train_sft(run_dir, options).manifest
    record = sft.record(DryRunRecord)
    # 12 records in batches of 2, 2 of them a step: 3 steps an epoch.
    assert record.metrics["steps"] == 6
    assert record.metrics["learning_rates"][5] < SFT.learning_rate
    assert record.metrics["bytes"]["adapter"] == 4 * record.counts["elements"]
    assert record.metrics["bytes"]["optimizer state (AdamW)"] == 8 * record.counts["active"]
    assert record.metrics["bytes"]["activations (estimate)"] > 10_000
    assert record.metrics["bytes"]["logits"] > 10_000
    assert "KV cache and rollouts" not in record.metrics["bytes"]
    assert record.counts["loss_tokens"] > 12
    rl = train_rl(run_dir, replace(RL, from_="init", dry_run=True)).manifest.record(DryRunRecord)
    assert rl.metrics["steps"] == RL.max_steps
    assert "loss_tokens" not in rl.counts
    assert rl.metrics["bytes"]["KV cache and rollouts"] > 10_000
    assert sorted(path for path in run_dir.root.rglob("*")) == before


def test_a_dry_run_ignores_a_result_that_is_there(run_dir):
    options = replace(SFT, max_steps=1)
    train_sft(run_dir, options)
    manifest = run_dir.manifest(Stage.TRAIN_SFT)
    dry = train_sft(run_dir, replace(options, dry_run=True, learning_rate=1e-3))
    assert dry.manifest.ended is None
    assert run_dir.manifest(Stage.TRAIN_SFT) == manifest


def build_model():
    model = torch.nn.Module()
    model.base = torch.nn.Linear(10, 10, bias=False)
    model.x = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(10, 2, bias=False)})
    model.base.weight.requires_grad_(False)
    return model


def test_bytes_of_whole_matrices():
    model = build_model()
    owned = torch.nn.Parameter(torch.zeros(5))
    found = memory_bytes(model, torch.optim.SGD([owned]))
    assert list(found.values()) == [400, 80, 80, 40, 40]


def test_bytes_of_matrices_that_zero_3_has_emptied():
    """There `numel` is 0 and the size before dividing is in `ds_numel`."""
    model = build_model()
    for parameter in model.parameters():
        parameter.ds_numel = parameter.numel()
        parameter.data = torch.empty(0)
    part = torch.nn.Parameter(torch.zeros(0))
    found = memory_bytes(model, torch.optim.SGD([part]))
    assert list(found.values()) == [400, 80, 80, 160, 160]
