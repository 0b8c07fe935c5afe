"""Packed records: kept apart, trained on as padded ones are, refused where attention mixes them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models import packing as checks
from lorapar_cli.models.base_model import BaseModel, load_tokenizer
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.sft import collator, to_dataset
from lorapar_cli.training.speed import options as speed
from lorapar_cli.training.speed.requirements import require_speed
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import SFT, adapter, lines, moved

SHORT = replace(SFT, lora_dropout=0.0, max_steps=3, per_device_batch_size=3, overwrite=True)


@pytest.fixture(params=["eager", "sdpa"])
def attention(request, monkeypatch):
    """An attention that runs on a CPU, and that transformers gives a mask of a row's records."""
    monkeypatch.setattr(speed, "PACKED", (request.param,))
    return request.param


@pytest.mark.parametrize("attention", [None, "eager", "sdpa"])
def test_other_attention_is_refused_with_the_reason(attention):
    with pytest.raises(UsageError, match="`--packing`") as caught:
        SftOptions(packing=True, attention=attention)
    assert (f"`--attention {attention}`" if attention else "own attention") in caught.value.found
    assert "--attention flash_attention_2" in caught.value.hint
    SftOptions(packing=True, attention="flash_attention_2")


def test_it_is_refused_where_whole_parameters_cannot_be_checked():
    options = SftOptions(packing=True, attention="flash_attention_2")
    for engine in (Engine.FSDP2, Engine.ZERO3):
        with pytest.raises(LoraparError, match="`--packing` cannot be used"):
            require_speed(options, engine, on_gpu=True)
    require_speed(options, Engine.WHOLE, on_gpu=True)


def test_a_row_holds_the_records_of_a_batch_with_their_positions_and_labels(tiny_model_dir):
    tokenizer = load_tokenizer(BaseModel("tiny", str(tiny_model_dir), None))
    rows = to_dataset([Encoded([5, 6, 7], 1), Encoded([8, 9], 1), Encoded([3, 4, 5, 6], 3)])
    batch = collator(tokenizer, packing=True)(list(rows))
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 3, 4, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    # No record's first token is predicted from the record before it.
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9, -100, -100, -100, 6]]
    assert "attention_mask" not in batch
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5, 9]
    assert batch["max_length_q"] == 4


def test_steps_are_those_of_padded_batches(run_dir, attention):
    found = {}
    for packing in (False, True):
        options = replace(SHORT, attention=attention, packing=packing)
        manifest = train_sft(run_dir, options).manifest
        assert manifest.counts["frozen_moved"] == 0
        active, frozen = moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
        assert active
        assert not frozen
        steps = lines(run_dir, Stage.TRAIN_SFT, Artifact.METRICS)
        found[packing] = (
            [step["loss"] for step in steps if "loss" in step],
            adapter(run_dir, Stage.TRAIN_SFT),
        )
    np.testing.assert_allclose(found[True][0], found[False][0], rtol=1e-5)
    for name, padded in found[False][1].items():
        np.testing.assert_allclose(found[True][1][name], padded, rtol=0, atol=1e-5)


def test_a_model_that_mixes_records_is_refused(run_dir, attention, monkeypatch):
    """As one would that is asked for positions and does not heed them."""
    make = checks.make_batch

    def without_positions(samples, *arguments, **options):
        batch = make(samples, *arguments, **options)
        if "position_ids" in batch.inputs:
            ids = batch.inputs["input_ids"]
            batch.inputs["position_ids"] = torch.arange(ids.shape[1], device=ids.device)[None]
        return batch

    monkeypatch.setattr(checks, "make_batch", without_positions)
    with pytest.raises(LoraparError, match="does not keep samples separate"):
        train_sft(run_dir, replace(SHORT, attention=attention, packing=True))


@pytest.mark.gpu
@pytest.mark.extra("flash_attn")
def test_flash_attention_trains_packed_records_as_padded_ones(run_dir):
    losses = []
    for packing in (False, True):
        options = replace(SHORT, attention="flash_attention_2", packing=packing, dtype="bfloat16")
        assert train_sft(run_dir, options).manifest.counts["frozen_moved"] == 0
        steps = lines(run_dir, Stage.TRAIN_SFT, Artifact.METRICS)
        losses.append([step["loss"] for step in steps if "loss" in step])
    np.testing.assert_allclose(*losses, rtol=1e-2)
