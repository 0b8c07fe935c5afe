"""Options of `score`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lorapar_cli.errors import UsageError
from lorapar_cli.limits import LARGEST_RANK, LARGEST_RATE, MOST_RECORDS, MOST_TOKENS
from lorapar_cli.model_options import (
    attention_option,
    device_map_option,
    dtype_option,
    model_option,
    quantize_option,
    shard_option,
    template_arg_option,
    trust_option,
)
from lorapar_cli.names import (
    TARGET_MODULES,
    Attention,
    DeviceMap,
    Dtype,
    Formula,
    Init,
    Quantize,
    Rule,
)
from lorapar_cli.options import Options, option, out_option, seed_option

MOVEMENT_STEPS = 20
# The default of `train-sft`. Adam's steps have the size of the rate, so that the order of the
# elements depends little on it as long as the adapter stays near its start.
MOVEMENT_RATE = 2e-4


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Options of `score`; which inits fit which formula is checked by `models.lora_inits`.

    Raises:
        UsageError: An option out of range.

    Source: LoRA-PAR, experimental settings (r, lora_alpha, target modules, length).
    """

    model: str | None = model_option()
    samples: int = option(
        400,
        "Number of records to score on, per system, chosen by seed; all of them where there are "
        "fewer.",
        at_least=2,
        at_most=MOST_RECORDS,
    )
    target_modules: tuple[str, ...] = option(
        TARGET_MODULES, "Names of the modules that get LoRA matrices, comma-separated."
    )
    # A launcher (`torchrun`) takes `--r` for an abbreviation of one of its own options.
    r: int = option(
        8,
        "LoRA rank r; use `--rank` with `torchrun`.",
        at_least=1,
        at_most=LARGEST_RANK,
        flag="--r",
        alias="--rank",
    )
    lora_alpha: int = option(
        64, "LoRA scaling: the update is lora_alpha / r times BA.", at_least=1, at_most=2**20
    )
    init: str = option(
        "orthogonal",
        f"Initial values of A and B, in PEFT's names: {', '.join(get_args(Init))}; N is a number "
        "of iterations.",
    )
    init_scale: float | None = option(
        None,
        "Standard deviation of A and B with `--init gaussian`; the authors use 0.01. "
        "Default: PEFT's gaussian, where B = 0.",
        above=0,
        at_most=LARGEST_RATE,
    )
    rule: Rule = option(
        "importance",
        "By what elements are ranked: the paper's importance; how far a short training moves them "
        "(movement); gradient over its standard error (snr), over the base weights' magnitude "
        "(gallop); share of the outputs (migu); or at random.",
    )
    formula: Formula = option(
        "taylor2",
        "How `--rule importance` is computed: `taylor2` is the paper's, `random` the control.",
    )
    movement_steps: int = option(
        MOVEMENT_STEPS,
        "Optimizer steps on each system with `--rule movement`, after which the adapter is reset.",
        at_least=1,
        at_most=100_000,
    )
    movement_rate: float = option(
        MOVEMENT_RATE,
        "Learning rate with `--rule movement`, constant.",
        above=0,
        at_most=LARGEST_RATE,
    )
    movement_s2: Literal["grpo", "sft"] = option(
        "grpo", "How `--rule movement` trains on System 2; System 1 is always trained by SFT."
    )
    max_length: int = option(
        512,
        "Maximum length of a record in tokens; longer records are left out, never truncated.",
        at_least=2,
        at_most=MOST_TOKENS,
    )
    batch_tokens: int = option(
        0,
        "Maximum number of tokens per batch, padding included, which bounds memory. 0: as many as "
        "the longest record has, on a GPU at least 4096.",
        at_least=0,
        at_most=MOST_RECORDS,
    )
    packing: bool = option(
        False,
        "Concatenate the samples of a batch into one row, without padding; refused where the model "
        "does not keep them separate.",
    )
    dtype: Dtype = dtype_option()
    quantize: Quantize | None = quantize_option()
    attention: Attention | None = attention_option()
    shard: bool = shard_option()
    device_map: DeviceMap | None = device_map_option()
    template: Path | None = option(
        None, "File with a Jinja chat template. Default: the model's own.", recorded=False
    )
    template_arg: tuple[str, ...] = template_arg_option("Default: none.")
    splits: Path | None = option(
        None,
        "Folder with system1.jsonl and system2.jsonl. Default: the run's own.",
        panel="Where",
        recorded=False,
    )
    out: Path | None = out_option()
    seed: int = seed_option()
    trust_remote_code: bool = trust_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule != "importance" and self.formula != "taylor2":
            raise UsageError(
                "`--formula` is for `--rule importance`",
                f"`--rule {self.rule}` with `--formula {self.formula}`",
                "omit one of them",
            )
        moved = (self.movement_steps, self.movement_rate, self.movement_s2)
        if self.rule != "movement" and moved != (MOVEMENT_STEPS, MOVEMENT_RATE, "grpo"):
            raise UsageError(
                "`--movement-steps`, `--movement-rate` and `--movement-s2` are for "
                "`--rule movement`",
                f"`--rule {self.rule}`",
                "add `--rule movement` or omit them",
            )
