"""The loss scaler of float16 on GPUs, on a CPU: steps that it leaves out move and raise nothing.

accelerate makes a scaler on devices only. Here its accelerator is given PyTorch's own for the CPU;
scaling, unscaling, clipping and leaving out steps are the libraries'.
"""

import dataclasses
import json

import pytest
import torch
from accelerate.state import AcceleratorState

from lorapar_cli.names import Stage
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(
    learning_rate=1e-2,
    max_steps=6,
    per_device_batch_size=2,
    gradient_accumulation=2,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=1,
    warmup=0.0,
    scheduler="constant",
    dtype="float16",
)


@pytest.fixture
def scaled(monkeypatch):
    """A function that makes trainers scale by what it is given; it returns what they did.

    That is a list of (scale, gradient norm, adapter moved) of every step.
    """
    steps = []

    def install(scale: float):
        create = MaskedTrainer.create_accelerator_and_postprocess
        clip = MaskedTrainer._clip_grad_norm
        begin = MaskedTrainer.training_step

        def create_with_scaler(self):
            create(self)
            self.accelerator.state._mixed_precision = "fp16"
            self.accelerator.native_amp = True
            self.accelerator.scaler = torch.amp.GradScaler(
                "cpu", init_scale=scale, growth_interval=1000
            )
            self.args.fp16 = True

        def values(self):
            return torch.cat(
                [p.detach().flatten() for p in self.model.parameters() if p.requires_grad]
            )

        def training_step(self, *args, **kwargs):
            now = values(self)
            if steps and steps[-1][2] is None:
                steps[-1][2] = not torch.equal(self.before, now)
            self.before = now
            return begin(self, *args, **kwargs)

        def clip_and_note(self, model):
            norm = clip(self, model)
            steps.append([self.accelerator.scaler.get_scale(), float(norm), None])
            return norm

        monkeypatch.setattr(MaskedTrainer, "create_accelerator_and_postprocess", create_with_scaler)
        monkeypatch.setattr(MaskedTrainer, "training_step", training_step)
        monkeypatch.setattr(MaskedTrainer, "_clip_grad_norm", clip_and_note)
        return steps

    yield install
    AcceleratorState._reset_state(reset_partial_state=True)


def metrics(run_dir):
    lines = (run_dir.folder(Stage.TRAIN_SFT) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def test_norms_are_of_unscaled_gradients(run_dir, tmp_path, scaled):
    """With clipping before unscaling the norm would be the scale times as large."""
    steps = scaled(2.0**10)
    counts = train_sft(run_dir, SFT).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.5 * counts["active"]
    assert all(0 < norm < 100 for _, norm, _ in steps)
    assert all(moved for _, _, moved in steps[:-1])


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_torch_fused"])
def test_steps_that_overflow_are_left_out(run_dir, scaled, optimizer):
    steps = scaled(2.0**26)
    counts = train_sft(run_dir, dataclasses.replace(SFT, max_steps=20, optimizer=optimizer))
    counts = counts.manifest.counts
    overflowed = [not torch.isfinite(torch.tensor(norm)) for _, norm, _ in steps]
    assert any(overflowed)
    assert not all(overflowed)
    for (_, _, moved), left_out in zip(steps[:-1], overflowed[:-1], strict=True):
        assert moved is not left_out
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.5 * counts["active"]
    assert [line["step"] for line in metrics(run_dir)] == list(range(1, 21))
