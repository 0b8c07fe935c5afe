"""Masked SFT through TRL's SFTTrainer.

How this differs from a plain TRL run:
1. The optimizer owns only the active elements (`training.masking.masked_trainer.MaskedTrainer`).
2. Records are tokenized by `models.rendering.tokenization`, so that scoring and training see the same tokens,
   and come with their labels: loss on the completion and the end of sequence, in every data format.
3. Nothing is truncated: a record that is too long is left out beforehand and counted. Packing
   concatenates the records of a batch; TRL's would put other records into it.
"""

from collections.abc import Iterable
from typing import Any, cast

from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from lorapar_cli.models.measuring.forgetting import record_losses
from lorapar_cli.models.packing import check_packing
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.stage_records.training import (
    RateMetrics,
    ReplaySampling,
    SftFigures,
    SftMetrics,
    SftRecord,
    TrainedTokens,
)
from lorapar_cli.training.jobs import Preparation, Trained, TrainingRun
from lorapar_cli.training.masking.masked_adapter import MaskedModel
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.recipes.find_rate import Trials
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
    logged,
)

Collator = DataCollatorForSeq2Seq | DataCollatorForLanguageModeling
IGNORED_LABEL = -100
SHOWN = {"loss": "loss", "learning_rate": "lr"}


class MaskedSFTTrainer(MaskedTrainer, SFTTrainer):
    """TRL's SFTTrainer whose optimizer owns the active elements of `masked`."""

    def __init__(self, masked: MaskedModel, **kwargs: Any) -> None:
        self.masked = masked
        super().__init__(model=masked.model, **kwargs)
        self.keep_float32()
        self.add_callback(_TokenCount(self))


class _TokenCount(TrainerCallback):
    """Makes a resumed run count tokens on from where it was; TRL starts again at 0."""

    def __init__(self, trainer: MaskedSFTTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Takes over the count of the last step that was logged before the resume."""
        counted = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        if counted:
            self._trainer._total_train_tokens = int(counted[-1])


def to_dataset(encoded: Iterable[Encoded]) -> Dataset:
    """Returns rows of `input_ids` and `labels`; prompt tokens do not contribute to the loss."""
    rows = [
        {
            "input_ids": item.input_ids,
            "labels": [IGNORED_LABEL] * item.prompt_length + item.input_ids[item.prompt_length :],
        }
        for item in encoded
    ]
    return Dataset.from_list(rows)


def collator(tokenizer: PreTrainedTokenizerBase, packing: bool = False) -> Collator:
    """Returns what makes a batch of rows of `to_dataset`: padded to the longest, or packed into one.

    Either way a batch has the same records, and they the same labels.
    """
    if packing:
        return DataCollatorForLanguageModeling(cast(int, tokenizer.pad_token_id), padding_free=True)
    return DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL)


def fit_sft(
    run: TrainingRun,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[Encoded],
    options: SftOptions,
    extra: dict[str, Any],
) -> SftFigures:
    """Trains the run's model in place; returns steps and mean loss.

    The mean is over all steps, including those before a resume.

    Args:
        extra: Trainer arguments that the user added with `--training`.
    """
    own = common_arguments(options, run.work, run.device) | {
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    config = build_config(SFTConfig, own, extra)
    if options.packing:
        # Without dropout; the trainer switches it on again.
        run.masked.model.eval()
        check_packing(run.masked.model, encoded, cast(int, tokenizer.pad_token_id))
    with checked_arguments(extra):
        trainer = MaskedSFTTrainer(
            run.masked,
            args=config,
            train_dataset=to_dataset(encoded),
            processing_class=tokenizer,
            data_collator=collator(tokenizer, options.packing),
        )
    run.run_trainer(trainer)
    losses = logged(trainer, "loss")
    return {"steps": trainer.state.global_step, "loss": sum(losses) / max(len(losses), 1)}


def rate_trials(
    tokenizer: PreTrainedTokenizerBase,
    extra: dict[str, Any],
    preparation: Preparation,
    held_out: list[Encoded],
    encoded: list[Encoded],
) -> Trials:
    """Returns how learning rates are tried on some records and measured by the loss of others."""
    pad_token_id, processes = cast(int, tokenizer.pad_token_id), preparation.launch.processes
    return Trials(
        "loss",
        lambda run, options: fit_sft(run, tokenizer, encoded, options, extra),
        lambda model: record_losses(model, held_out, pad_token_id, processes),
    )


def to_record(
    counts: TrainedTokens,
    trained: Trained[SftFigures],
    rate: RateMetrics,
    sampling: ReplaySampling | None,
) -> SftRecord:
    """Returns the stage's record of a finished run."""
    metrics: SftMetrics = {**trained.launch, **trained.figures, **rate, **trained.watched}
    if sampling is not None:
        metrics["replay"] = sampling
    return SftRecord({**counts, **trained.elements}, metrics)
