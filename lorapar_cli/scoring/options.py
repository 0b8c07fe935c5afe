"""Settings of `score`."""

from dataclasses import dataclass

from lorapar_cli.names import TARGET_MODULES


@dataclass(frozen=True)
class ScoreOptions:
    """Settings of `score`.

    Attributes:
        samples: At most so many records a system, chosen by seed.
        init: One of `models.lora_inits.INITS`.
        init_scale: Standard deviation of `gaussian` for A and B; None for PEFT's, where B = 0.
        formula: A key of `elements.importance.FORMULAS`.
        max_length: Tokens; longer records are left out, never cut.
        batch_tokens: Tokens of a batch, padding included; 0 for the longest record's (CPU) or
            4,096 (GPU).
        packing: Whether a batch is one row of samples end to end, without padding.
        dtype: Of the base model: `auto`, `float32`, `bfloat16`, `float16`.
        quantize: `4bit` or `8bit` base weights; None for none.
        template: Jinja text of a chat template in place of the model's own.

    Source: LoRA-PAR, experimental settings (r, lora_alpha, target modules, length).
    """

    samples: int = 400
    target_modules: tuple[str, ...] = TARGET_MODULES
    r: int = 8
    lora_alpha: int = 64
    init: str = "orthogonal"
    init_scale: float | None = None
    formula: str = "taylor2"
    max_length: int = 512
    batch_tokens: int = 0
    packing: bool = False
    dtype: str = "auto"
    quantize: str | None = None
    template: str | None = None
    seed: int = 0
