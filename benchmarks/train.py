"""Seconds a step and optimizer bytes of masked SFT against plain TRL and PEFT on the same data.

Both train the same LoRA adapter (r = 8 on all linear modules) of a random Llama for the same steps
on the same token ids, in turns within one process, so that a machine whose speed drifts slows both
alike. Plain: TRL's SFTTrainer with a PeftModel and AdamW. Masked: the same with our optimizer, 40 %
of the elements active.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from lorapar_cli.embedded import MODEL_DIR
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.base_model import BaseModel, load_tokenizer
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.names import TARGET_MODULES
from lorapar_cli.training.masking.masked_adapter import MaskedAdapter, MaskedModel
from lorapar_cli.training.sft import MaskedSFTTrainer, collator, to_dataset

ROUNDS, STEPS, WARM_STEPS = 5, 12, 2
BATCH, LENGTH = 4, 128
HIDDEN, LAYERS = 512, 4
ACTIVE_SHARE = 0.4


class StepTimes(TrainerCallback):
    """Collects the time of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_, **__) -> None:
        """Starts the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, *_, **__) -> None:
        """Stops it, the device's work included."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)


def build_model() -> torch.nn.Module:
    """Returns a random Llama with a LoRA adapter on it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=700,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
    )
    lora = LoraConfig(
        r=8, lora_alpha=64, target_modules=list(TARGET_MODULES), init_lora_weights="orthogonal"
    )
    return get_peft_model(LlamaForCausalLM(config), lora)


def train(masked: bool, folder: Path) -> tuple[float, int]:
    """Returns the median seconds of a step and the bytes of optimizer state."""
    model, tokenizer = build_model(), load_tokenizer(BaseModel("embedded", str(MODEL_DIR), None))
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(10, 700, (BATCH * STEPS, LENGTH), generator=generator).tolist()
    config = SFTConfig(
        str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
    )
    times = StepTimes()
    arguments = {
        "args": config,
        "train_dataset": to_dataset([Encoded(row, LENGTH // 2) for row in rows]),
        "processing_class": tokenizer,
        "data_collator": collator(tokenizer),
        "callbacks": [times],
    }
    if masked:
        trainer = MaskedSFTTrainer(mask_at_random(model), **arguments)
    else:
        trainer = SFTTrainer(model=model, **arguments)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    state = trainer.optimizer.state_dict()["state"].values()
    held = sum(t.numel() * t.element_size() for s in state for k, t in s.items() if k != "step")
    return statistics.median(times.seconds[WARM_STEPS:]), held


def mask_at_random(model) -> MaskedModel:
    """Returns the model with a random share of its elements active."""
    generator = torch.Generator().manual_seed(2)
    weights = {n: p.detach().cpu().clone() for n, p in adapter_parameters(model).items()}
    active = {
        n: torch.rand(w.shape, generator=generator) < ACTIVE_SHARE for n, w in weights.items()
    }
    shapes = {n: tuple(w.shape) for n, w in weights.items()}
    return MaskedModel(model, MaskedAdapter(Path(), weights, active, shapes, None))


def active_share() -> float:
    """Returns the exact share of active elements."""
    start = mask_at_random(build_model()).start
    return start.active_count / start.element_count


def main() -> None:
    """Prints one line a round and the medians."""
    print(f"train: Llama, hidden {HIDDEN}, {LAYERS} layers, {BATCH} x {LENGTH} tokens a step")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            plain, plain_bytes = train(False, Path(folder))
            ours, our_bytes = train(True, Path(folder))
            ratios.append(ours / plain)
            print(
                f"  round {number + 1}: masked {ours * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms a "
                f"step, ratio {ratios[-1]:.3f}; optimizer state {our_bytes / plain_bytes:.4f} "
                f"of plain's, active {active_share():.4f} of the elements"
            )
    print(f"  median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
