"""Masked SFT through TRL's SFTTrainer.

How this differs from a plain TRL run:
1. The optimizer owns the active elements only (`hub.masked_trainer.MaskedTrainer`).
2. Records are tokenized by `hub.prompts`, so that scoring and training see the same tokens, and
   come with their labels: loss on the completion and the end of sequence, in every data format.
3. Nothing is packed or cut: a record that is too long is left out before and counted.
"""

from collections.abc import Iterable
from pathlib import Path

from datasets import Dataset
from transformers import DataCollatorForSeq2Seq
from trl import SFTConfig, SFTTrainer

from lorapar_cli.hub.masked_trainer import MaskedModel, MaskedTrainer
from lorapar_cli.hub.prompts import Encoded
from lorapar_cli.hub.training import StageCallback, run_training

IGNORED_LABEL = -100


class MaskedSFTTrainer(MaskedTrainer, SFTTrainer):
    """TRL's SFTTrainer whose optimizer owns the active elements of `masked`."""

    def __init__(self, masked: MaskedModel, **kwargs) -> None:
        self.masked = masked
        super().__init__(model=masked.model, **kwargs)
        self.keep_float32()


def to_dataset(encoded: Iterable[Encoded]) -> Dataset:
    """Returns rows of `input_ids` and `labels`; prompt tokens carry no loss."""
    rows = [
        {
            "input_ids": item.input_ids,
            "labels": [IGNORED_LABEL] * item.prompt_length + item.input_ids[item.prompt_length :],
        }
        for item in encoded
    ]
    return Dataset.from_list(rows)


def train(
    masked: MaskedModel,
    tokenizer,
    encoded: list[Encoded],
    config: SFTConfig,
    callback: StageCallback,
    checkpoint: Path | None,
) -> dict[str, float]:
    """Trains `masked.model` in place; returns steps and mean loss."""
    trainer = MaskedSFTTrainer(
        masked,
        args=config,
        train_dataset=to_dataset(encoded),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL),
        callbacks=[callback],
    )
    run_training(trainer, checkpoint)
    return {"steps": trainer.state.global_step, "loss": trainer.state.log_history[-1]["train_loss"]}
