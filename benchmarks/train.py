"""Seconds a step and optimizer bytes of masked SFT against plain TRL and PEFT on the same data.

Both train the same LoRA adapter (r = 8 on all linear modules) of a random Llama for the same steps
on the same token ids, in turns within one process, so that a machine whose speed drifts slows both
alike. Plain: TRL's SFTTrainer with a PeftModel and AdamW. Masked: the same with our optimizer, 40 %
of the elements active, and then with one option more. Seconds are those of the clock and those of
the processor: the latter hardly depend on what else the machine does.

What options of whole stages cost is measured by `recipes`.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from lorapar_cli.embedded import MODEL_DIR
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.base_model import BaseModel, load_tokenizer
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.names import TARGET_MODULES
from lorapar_cli.training.masking.masked_adapter import MaskedAdapter, MaskedModel
from lorapar_cli.training.sft import MaskedSFTTrainer, collator, to_dataset

ROUNDS, STEPS, WARM_STEPS = 5, 12, 2
BATCH, LENGTH = 4, 128
HIDDEN, LAYERS = 512, 4
ACTIVE_SHARE = 0.4
OPTIONS: dict[str, dict[str, Any]] = {
    "--gradient-checkpointing": {"gradient_checkpointing": True},
    "--attention eager": {"attention": "eager"},
    "--device-map auto": {"device_map": "auto"},
    "the hooks of a device map on every layer": {"device_map": "hooks"},
}
"""What is measured against masked steps without it.

`auto` leaves a model whole where there is one device. A map over several has hooks, which move what
a layer is given to its device: here all of them are the CPU, so that they cost what they do and
nothing is moved.
"""


class StepTimes(TrainerCallback):
    """Collects the time of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor: list[float] = []

    def on_step_begin(self, *_, **__) -> None:
        """Starts the clock."""
        self._began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_, **__) -> None:
        """Stops it, the device's work included."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall, processor = self._began
        self.seconds.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


@dataclass(frozen=True)
class Cost:
    """What the steps of one training cost.

    Attributes:
        seconds, processor: Medians of a step, on the clock and of the processor.
        first: Seconds of the steps that do not count, on the clock.
        held: Bytes of optimizer state.
    """

    seconds: float
    processor: float
    first: float
    held: int


def build_model(attention: str = "sdpa", device_map: str | None = None) -> torch.nn.Module:
    """Returns a random Llama with a LoRA adapter on it.

    Args:
        device_map: `auto` loads it as the option does, `hooks` also puts a hook on every layer.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=700,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        attn_implementation=attention,
    )
    lora = LoraConfig(
        r=8, lora_alpha=64, target_modules=list(TARGET_MODULES), init_lora_weights="orthogonal"
    )
    model = LlamaForCausalLM(config)
    if device_map:
        model = _placed(model, attention)
    if device_map == "hooks":
        names = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"]
        layers = [f"model.layers.{number}" for number in range(LAYERS)]
        model = dispatch_model(model, dict.fromkeys([*names, *layers], "cpu"), force_hooks=True)
    return get_peft_model(model, lora)


def _placed(model: torch.nn.Module, attention: str) -> torch.nn.Module:
    """Returns the model as `--device-map auto` loads it from a folder."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        base = BaseModel("benchmark", folder, None)
        return load_placed(base, Placement(device_map=True), "float32", attention=attention)


def train(
    masked: bool,
    folder: Path,
    attention: str = "sdpa",
    device_map: str | None = None,
    **changes: Any,
) -> Cost:
    """Returns what steps cost.

    Args:
        attention, device_map: As `build_model` takes them.
        changes: Arguments of the trainer.
    """
    model = build_model(attention, device_map)
    tokenizer = load_tokenizer(BaseModel("embedded", str(MODEL_DIR), None))
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(10, 700, (BATCH * STEPS, LENGTH), generator=generator).tolist()
    config = SFTConfig(
        str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
        **{"gradient_checkpointing": False} | changes,
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
    return Cost(
        statistics.median(times.seconds[WARM_STEPS:]),
        statistics.median(times.processor[WARM_STEPS:]),
        sum(times.seconds[:WARM_STEPS]),
        held,
    )


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
    """Prints one line a round, the medians, and what each option costs."""
    print(f"train: Llama, hidden {HIDDEN}, {LAYERS} layers, {BATCH} x {LENGTH} tokens a step")
    clock, processor = [], []
    found: dict[str, list[float]] = {name: [] for name in OPTIONS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            plain, ours = train(False, Path(folder)), train(True, Path(folder))
            clock.append(ours.seconds / plain.seconds)
            processor.append(ours.processor / plain.processor)
            print(
                f"  round {number + 1}: masked {ours.seconds * 1e3:.1f} ms, plain "
                f"{plain.seconds * 1e3:.1f} ms a step, ratio {clock[-1]:.3f}, of the processor's "
                f"time {processor[-1]:.3f}; optimizer state {ours.held / plain.held:.4f} of "
                f"plain's, active {active_share():.4f} of the elements",
                flush=True,
            )
            for name, changes in OPTIONS.items():
                found[name].append(train(True, Path(folder), **changes).processor / ours.processor)
        print(f"  median ratio {_spread(clock)}; of the processor's time {_spread(processor)}")
        for name, ratios in found.items():
            print(f"  {name}: {_spread(ratios)} times the processor's time of a masked step")
        _print_compiled(Path(folder))


def _print_compiled(folder: Path) -> None:
    """Prints what compilation costs once and saves in every step."""
    ours, compiled = train(True, folder), train(True, folder, torch_compile=True)
    print(
        f"  --compile: {compiled.processor / ours.processor:.2f} times the processor's time of a "
        f"masked step, {compiled.seconds / ours.seconds:.2f} on the clock; the first {WARM_STEPS} "
        f"steps {compiled.first:.1f} s instead of {ours.first:.1f} s"
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
