"""Options of `score`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from lorapar_cli.names import TARGET_MODULES, Dtype, Formula, Init, Quantize
from lorapar_cli.options import (
    Options,
    dtype_option,
    model_option,
    option,
    out_option,
    quantize_option,
    seed_option,
    template_arg_option,
    trust_option,
)


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
    )
    target_modules: tuple[str, ...] = option(
        TARGET_MODULES, "Names of the modules that get LoRA matrices, comma-separated."
    )
    # A launcher (`torchrun`) takes `--r` for an abbreviation of one of its own options.
    r: int = option(
        8, "LoRA rank r; use `--rank` with `torchrun`.", at_least=1, flag="--r", alias="--rank"
    )
    lora_alpha: int = option(64, "LoRA scaling: the update is lora_alpha / r times BA.", at_least=1)
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
    )
    formula: Formula = option(
        "taylor2", "How importance is computed: `taylor2` is the paper's, `random` the control."
    )
    max_length: int = option(
        512,
        "Maximum length of a record in tokens; longer records are left out, never truncated.",
        at_least=2,
    )
    batch_tokens: int = option(
        0,
        "Maximum number of tokens per batch, padding included, which bounds memory. 0: as many as "
        "the longest record has, on a GPU at least 4096.",
        at_least=0,
    )
    packing: bool = option(
        False,
        "Concatenate the samples of a batch into one row, without padding; refused where the model "
        "does not keep them separate.",
    )
    dtype: Dtype = dtype_option()
    quantize: Quantize | None = quantize_option()
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
