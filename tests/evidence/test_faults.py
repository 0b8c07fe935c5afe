"""Faults of the published script: what each does, and that it is gone when switched off."""

from inspect import signature

import numpy as np
import pytest
import torch

from evidence import faults
from lorapar_cli.embedded import MODEL_DIR
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.names import Artifact
from lorapar_cli.store.mask_file import read_mask
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors
from lorapar_cli.training import run as training_run
from lorapar_cli.training import sft
from lorapar_cli.training.masking import masked_trainer

PLACES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.down_proj")


def write_mask(folder, layers=2):
    names = [
        f"base_model.model.model.layers.{layer}.{place}.lora_{part}.weight"
        for layer in range(layers)
        for place in PLACES
        for part in "AB"
    ]
    drawn = np.random.default_rng(0)
    flags = {name: drawn.integers(0, 16, (2, 3)).astype(np.uint8) for name in names}
    metadata = {"fingerprint": layout_fingerprint({n: f.shape for n, f in flags.items()})}
    folder.mkdir()
    write_tensors(folder / Artifact.MASK, flags, metadata)
    return flags, names


def test_a_mask_read_by_position(tmp_path):
    flags, names = write_mask(tmp_path / "right")
    path = faults.misread(tmp_path / "right" / Artifact.MASK, tmp_path / "wrong", "o_proj", 12)
    found, _ = read_mask(path)
    # Naively: the list of flags, and a model whose layers have 12 elements more before `gate_proj`.
    listed = [flag for name in names for flag in flags[name].ravel()]
    place = 0
    for name in names:
        if "gate_proj.lora_A" in name:
            place += 12
        wanted = [listed[n] if n < len(listed) else 0 for n in range(place, place + 6)]
        assert found[name].ravel().tolist() == wanted, name
        place += 6


def test_matrices_before_the_further_ones_are_read_right(tmp_path):
    flags, names = write_mask(tmp_path / "right", layers=1)
    path = faults.misread(tmp_path / "right" / Artifact.MASK, tmp_path / "wrong", "o_proj", 12)
    found, _ = read_mask(path)
    assert all(np.array_equal(found[name], flags[name]) for name in names if "self_attn" in name)
    assert not all(np.array_equal(found[name], flags[name]) for name in names)


def test_an_unknown_matrix_is_refused(tmp_path):
    write_tensors(
        tmp_path / "mask",
        {"x": np.zeros((1, 1), np.uint8)},
        {"fingerprint": layout_fingerprint({"x": (1, 1)})},
    )
    with pytest.raises(ValueError, match="no LoRA matrix"):
        faults.misread(tmp_path / "mask", tmp_path / "wrong", "o_proj", 1)


@pytest.fixture(scope="module")
def embedded_model():
    base = find_base_model(str(MODEL_DIR))
    return load_base(base, "float32", False).eval(), load_tokenizer(base, False)


ROWS = [
    {"input_ids": [5, 6, 7, 8, 9, 10], "labels": [-100, -100, -100, 8, 9, 10]},
    {"input_ids": [11, 12, 13], "labels": [-100, 12, 13]},
]


@torch.inference_mode()
def losses(model, batch):
    """Returns each row's mean cross-entropy."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    per_token = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
    )
    return (per_token.sum(1) / (batch["labels"][:, 1:] != -100).sum(1)).tolist()


def test_padding_on_the_left_that_is_attended_to_changes_the_loss(embedded_model):
    model, tokenizer = embedded_model
    right = losses(model, sft.collator(tokenizer)(ROWS))
    with faults.attended_padding():
        batch = sft.collator(tokenizer)(ROWS)
    assert batch["input_ids"][1, 3:].tolist() == [11, 12, 13]
    assert batch["labels"][1].tolist() == [-100, -100, -100, -100, 12, 13]
    wrong = losses(model, batch)
    assert wrong[0] == pytest.approx(right[0], abs=1e-5)
    assert wrong[1] != pytest.approx(right[1], abs=1e-3)


def test_padding_on_the_right_cannot_be_seen(embedded_model):
    model, tokenizer = embedded_model
    batch = sft.collator(tokenizer)(ROWS)
    right = losses(model, batch)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    assert losses(model, batch) == pytest.approx(right, abs=1e-5)


def test_faults_are_gone_when_they_are_switched_off(tmp_path):
    before = (sft.collator, masked_trainer.ActiveElements, training_run.verify_trained)
    with faults.attended_padding(), faults.frozen_decay(tmp_path):
        during = (sft.collator, masked_trainer.ActiveElements, training_run.verify_trained)
        for right, wrong in zip(before, during, strict=True):
            assert right is not wrong
            # They are called in place of each other.
            assert [*signature(right).parameters] == [*signature(wrong).parameters]
    assert (sft.collator, masked_trainer.ActiveElements, training_run.verify_trained) == before
