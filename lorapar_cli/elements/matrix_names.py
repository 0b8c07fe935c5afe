"""Where in the model a LoRA matrix sits, read from its name."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class MatrixPlace:
    """A LoRA matrix's place.

    Attributes:
        layer: (stack, number): the stack is `encoder` or `decoder` where there are two, else
            empty; the number is -1 for a module outside of any layer.
        module: Module kind, for instance `q_proj`.
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
    """Returns how a layer is shown: `3`, `encoder 3`, or `-` outside of any."""
    stack, number = layer
    return f"{stack} {number}".strip() if number >= 0 else "-"
