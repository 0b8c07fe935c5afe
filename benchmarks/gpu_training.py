"""Masked SFT and GRPO against plain TRL and PEFT, at the size of LLaMA2-7B on one GPU."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from benchmarks.gpu_size import ADAPTER, Size, measured
from benchmarks.train import StepTimes, mask_at_random
from lorapar_cli.embedded import MODEL_DIR
from lorapar_cli.models.base_model import BaseModel, load_tokenizer
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.store.records import Record
from lorapar_cli.training.grpo import MaskedGRPOTrainer
from lorapar_cli.training.grpo import to_dataset as to_prompts
from lorapar_cli.training.rewards.completion_log import CompletionLog, trl_reward
from lorapar_cli.training.sft import MaskedSFTTrainer, collator, to_dataset


def adapted(base: Any) -> Any:
    """Returns the base with PEFT's own adapter, in float32 as we keep it."""
    torch.manual_seed(0)
    return get_peft_model(base, LoraConfig(**ADAPTER, init_lora_weights="orthogonal"))


def trainer_arguments(folder: Path, steps: int) -> dict[str, Any]:
    """Returns what all trainings share."""
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "seed": 0,
    }


def finish(trainer: Any, times: StepTimes) -> dict[str, Any]:
    """Trains; returns the mean loss, seconds a step, peak memory and bytes of optimizer state."""
    trainer.remove_callback(PrinterCallback)
    found: dict[str, Any] = {}
    with measured(found):
        found["loss"] = trainer.train().training_loss
    state = trainer.optimizer.state_dict()["state"].values()
    found["optimizer_bytes"] = sum(
        t.numel() * t.element_size() for s in state for k, t in s.items() if k != "step"
    )
    found["step_seconds"] = statistics.median(times.seconds[2:])
    return found


def train_sft(
    base: Any, size: Size, folder: Path, masked: bool, rows: list[Encoded], **changes: Any
) -> Any:
    """Returns the figures of one SFT.

    Args:
        rows: All records of it.
        changes: Arguments of the trainer, and `packing`.
    """
    model = adapted(base)
    tokenizer = load_tokenizer(BaseModel("embedded", str(MODEL_DIR), None))
    packing = changes.pop("packing", False)
    times = StepTimes()
    arguments = {
        "args": SFTConfig(
            **trainer_arguments(folder, size.steps),
            per_device_train_batch_size=size.sft[0],
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            **{"gradient_checkpointing": False} | changes,
        ),
        "train_dataset": to_dataset(rows),
        "processing_class": tokenizer,
        "data_collator": collator(tokenizer, packing),
        "callbacks": [times],
    }
    trainer = (
        MaskedSFTTrainer(mask_at_random(model), **arguments)
        if masked
        else SFTTrainer(model=model, **arguments)
    )
    return finish(trainer, times) | {"kept": unload(trainer)}


def draw_rows(size: Size, shortest: int | None = None) -> list[Encoded]:
    """Returns random records for one SFT.

    Args:
        shortest: Tokens of the shortest record; all have as many as the longest if not set.
    """
    batch, longest = size.sft
    generator = torch.Generator().manual_seed(1)

    def numbers(low: int, high: int, count: int) -> list[int]:
        return torch.randint(low, high, (count,), generator=generator).tolist()

    count = batch * size.steps
    lengths = [longest] * count if shortest is None else numbers(shortest, longest + 1, count)
    return [Encoded(numbers(10, 700, length), length // 2) for length in lengths]


def _by_tokens(completions: list[str], completion_ids: list[list[int]]) -> list[float]:
    # Random weights write tokens that this tokenizer does not know, so that texts say nothing.
    return [float(sum(ids) % 97) for ids in completion_ids]


def train_grpo(base: Any, size: Size, folder: Path, masked: bool) -> Any:
    """Returns the figures of one GRPO with eight completions a prompt."""
    model = adapted(base)
    tokenizer = load_tokenizer(BaseModel("embedded", str(MODEL_DIR), None))
    words, steps = " ".join(["seven plus two"] * 12), size.steps // 2 + 1
    records = [Record(str(i), f"{words} {i}", "", str(i)) for i in range(size.prompts * steps)]
    times = StepTimes()
    log = CompletionLog(None, {"spread": 1.0}, 8, lambda _event: None)
    reward = trl_reward("spread", _by_tokens, log)
    arguments = {
        "args": GRPOConfig(
            **trainer_arguments(folder, steps),
            per_device_train_batch_size=size.prompts * 8,
            num_generations=8,
            max_completion_length=size.completion,
            gradient_checkpointing=False,
            beta=0.0,
        ),
        "reward_funcs": [reward],
        "train_dataset": to_prompts(records, tokenizer),
        "processing_class": tokenizer,
        "callbacks": [times],
    }
    trainer = (
        MaskedGRPOTrainer(mask_at_random(model), log, None, **arguments)
        if masked
        else GRPOTrainer(model=model, **arguments)
    )
    return finish(trainer, times) | {"kept": unload(trainer)}


def unload(trainer: Any) -> bool:
    """Takes the adapter off the base; returns whether inactive elements kept their bits."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    kept = True
    if isinstance(trainer, MaskedSFTTrainer | MaskedGRPOTrainer):
        start = trainer.masked.start
        now = {
            name.replace(".default", ""): value
            for name, value in model.named_parameters()
            if ".lora_" in name
        }
        kept = all(
            torch.equal(now[name].detach().cpu()[~active], start.weights[name][~active])
            for name, active in start.active.items()
        )
    model.unload().gradient_checkpointing_disable()
    return kept


def measure_sft(base: Any, size: Size, say: Callable[[str, Any], None]) -> None:
    """Says the figures of SFT with and without a mask and checkpointing, in turns."""
    rows = draw_rows(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for number in range(size.rounds):
            for masked in (False, True):
                way = "masked" if masked else "plain"
                say(f"sft {way}", train_sft(base, size, path, masked, rows))
                if number == 0:
                    found = train_sft(base, size, path, masked, rows, gradient_checkpointing=True)
                    say(f"sft {way} checkpointed", found)


def measure_grpo(base: Any, size: Size, say: Callable[[str, Any], None]) -> None:
    """Says the figures of GRPO with and without a mask, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(size.rounds):
            for masked in (False, True):
                way = "masked" if masked else "plain"
                say(f"grpo {way}", train_grpo(base, size, Path(folder), masked))
