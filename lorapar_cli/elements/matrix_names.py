"""The place of a LoRA matrix in the model, parsed from its name."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class MatrixPlace:
    """The place of a LoRA matrix; places sort by layer, module and matrix.

    Attributes:
        layer: Stack and number. The stack is `encoder` or `decoder` in models that have both, else
            empty; the number is -1 for a module outside all layers.
        module: Kind of module, for instance `q_proj`.
        matrix: `A` or `B`.
    """

    layer: tuple[str, int]
    module: str
    matrix: str


def matrix_place(name: str) -> MatrixPlace:
    """Returns the place of the matrix with this key in PEFT's `adapter_model.safetensors`."""
    path, _, matrix = name.removesuffix(".weight").rpartition(".lora_")
    number = re.search(r"\.(\d+)\.", path)
    stack = re.search(r"\.(encoder|decoder)\.", path)
    return MatrixPlace(
        (stack[1] if stack else "", int(number[1]) if number else -1),
        path.rpartition(".")[2],
        matrix,
    )


def layer_label(layer: tuple[str, int]) -> str:
    """Returns a layer as text: `3`, `encoder 3`, or `-` for no layer."""
    stack, number = layer
    return f"{stack} {number}".strip() if number >= 0 else "-"
