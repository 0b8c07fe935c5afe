"""Bytes by what holds them on one device, for the passes that stages make.

What is exact follows from shapes alone. Activations are those of a pass over tensors without data
(`models.memory.outline`), of batches as long as the stage allows. Not counted: the CUDA context
and kernels' workspaces (about 1 GiB a process), and what an allocator keeps in fragments.
"""

from dataclasses import dataclass, replace

import torch

from lorapar_cli.models.memory.outline import (
    Drawn,
    Outline,
    outline,
    prompt_pass,
    training_pass,
)

# bitsandbytes: half a byte and a float32 scale for 64 values; a byte and one scale a row.
_QUANTIZED = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
# TRL's fused output head computes logits in tiles.
_TILE_TOKENS, _TILE_WIDTH = 4096, 32_768
# Sums of g and g², for two halves, in float64.
_SUMS = 4 * 8
# AdamW's two moments, and a copy of each active element with its gradient.
_OPTIMIZER, _ACTIVE = 2 * 4, 2 * 4

LOGITS = "logits"
ROLLOUTS = "KV cache and rollouts"
ACTIVATIONS = "activations (estimate)"


@dataclass(frozen=True)
class Footprint:
    """What one device holds.

    Attributes:
        parts: Bytes by what holds them, all at once except for what follows.
        alternating: Bytes of phases that follow one another; only the largest counts.
    """

    parts: dict[str, int]
    alternating: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes at once."""
        return sum(self.parts.values()) + max(self.alternating.values(), default=0)


@dataclass(frozen=True)
class Planner:
    """Footprints of one base model and adapter.

    Attributes:
        sizes: Of the model that is drawn.
        quantize: `4bit`, `8bit` or None.
        shards: Number of processes among which FSDP2 divides the base model; 1 for none.
    """

    drawn: Drawn
    sizes: Outline
    quantize: str | None = None
    shards: int = 1

    def score(self, rows: int, tokens: int) -> Footprint:
        """Returns that of `score`, with `rows` records of so many tokens in a batch."""
        passes = training_pass(
            self.drawn, rows, tokens, head=True, checkpointing=False, autocast=False
        )
        return Footprint(
            {
                **self._base(),
                "adapter": 4 * self.sizes.elements,
                "sums of gradients": _SUMS * self.sizes.elements,
            },
            {ACTIVATIONS: passes},
        )

    def train(
        self,
        rows: int,
        tokens: int,
        *,
        active: int,
        checkpointing: bool,
        autocast: bool,
        dropout: float = 0.0,
        sequences: int = 0,
        completion: int = 0,
        reference: bool = False,
    ) -> Footprint:
        """Returns that of a training stage.

        Args:
            rows, tokens: Sequences of a batch, and the length of each.
            active: Number of elements that the stage trains.
            autocast: Whether the trainer computes in half precision, as on GPUs.
            dropout: Before the LoRA matrices.
            sequences, completion: Of rollouts, which transformers generates; 0 for none.
            reference: Whether a copy of the adapter is kept for the KL divergence.
        """
        elements = self.sizes.elements // self.shards
        owned = elements if self.shards > 1 else active
        tile = min(rows * tokens, _TILE_TOKENS) * min(self.sizes.vocabulary, _TILE_WIDTH)
        passes = training_pass(
            replace(self.drawn, dropout=dropout),
            rows,
            tokens,
            head=False,
            checkpointing=checkpointing,
            autocast=autocast,
        )
        parts = {
            **self._base(),
            "adapter": 4 * elements * (2 if reference else 1),
            "gradients": 4 * elements,
            "active elements and their gradients": _ACTIVE * active if self.shards == 1 else 0,
            "optimizer state (AdamW)": _OPTIMIZER * owned,
            LOGITS: tile * (self._width + 8),
        }
        phases = {ACTIVATIONS: passes}
        if sequences:
            phases[ROLLOUTS] = self._generation(sequences, tokens - completion, completion)
        return Footprint({name: size for name, size in parts.items() if size}, phases)

    def evaluate(self, sequences: int, prompt: int, completion: int) -> Footprint:
        """Returns that of `eval`, whose batches have so many prompts."""
        return Footprint(
            {**self._base(), "adapter": 4 * self.sizes.elements},
            {ROLLOUTS: self._generation(sequences, prompt, completion)},
        )

    @property
    def _width(self) -> int:
        return torch.empty(0, dtype=self.drawn.dtype).element_size()

    def _base(self) -> dict[str, int]:
        sizes, width = self.sizes, self._width
        if self.quantize is not None:
            rounded = int(sizes.quantizable * _QUANTIZED[self.quantize])
            return {
                "base model": rounded + (sizes.weights - sizes.quantizable) * width,
                "a dequantised matrix": sizes.largest * width,
            }
        if self.shards == 1:
            return {"base model": sizes.weights * width}
        # The next layer is gathered while one is computed.
        return {
            f"base model, 1 of {self.shards} shards": -(-sizes.weights // self.shards) * width,
            "gathered layers": (sizes.outside + 2 * sizes.layer) * width,
        }

    def _generation(self, sequences: int, prompt: int, completion: int) -> int:
        first = prompt_pass(self.drawn, sequences, prompt)
        # A step appends to each layer's cache by copying it.
        return first + sequences * completion * self.sizes.cache * self._width


def plan(drawn: Drawn, quantize: str | None = None, shards: int = 1) -> Planner:
    """Returns what footprints are computed from; reads the configuration, no weights.

    Raises:
        LoraparError: The configuration cannot be read, or no module has one of the target names.
    """
    return Planner(drawn, outline(drawn), quantize, shards)
