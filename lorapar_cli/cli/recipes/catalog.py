"""The recipes by name: what each is for, and the hardware that it needs."""

from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import UsageError, nearest


@dataclass(frozen=True)
class Recipe:
    """A configuration of all stages to begin with.

    Attributes:
        name: Of its file, without extension.
        purpose: What it runs.
        hardware: What it needs besides lorapar.
    """

    name: str
    purpose: str
    hardware: str

    @property
    def text(self) -> str:
        """The YAML file."""
        return (Path(__file__).parent / f"{self.name}.yaml").read_text(encoding="utf-8")


_48_GB = "one GPU with 48 GB"
RECIPES = (
    Recipe(
        "own-data",
        "your own records, a model of your choice",
        "a GPU that holds the model; the file names one of 1.5 billion parameters",
    ),
    Recipe("embedded-cpu", "the embedded model on your own records, to try the stages", "a CPU"),
    Recipe(
        "gsm8k-llama2-7b",
        "GSM8K with LLaMA2-7B, the paper's settings",
        f"{_48_GB}; GSM8K; access to the model",
    ),
    Recipe(
        "gsm8k-qwen2.5-7b",
        "GSM8K with Qwen2.5-7B, lorapar's initialisation and rewards",
        f"{_48_GB}; GSM8K",
    ),
    Recipe(
        "gsm8k-llama2-7b-qlora-24gb",
        "GSM8K with LLaMA2-7B in 4 bits",
        "one GPU with 24 GB; the extra `quantize`; GSM8K",
    ),
    Recipe(
        "mmlu-dolly-llama2-7b",
        "SFT on Dolly, GRPO on MMLU's training questions, MMLU",
        f"{_48_GB}; Dolly-15K and MMLU",
    ),
    Recipe(
        "mmlu-openplatypus-llama2-7b",
        "both stages on Open-Platypus, MMLU",
        f"{_48_GB}; Open-Platypus and MMLU",
    ),
    Recipe(
        "humaneval-codealpaca-llama2-7b",
        "SFT on CodeAlpaca, GRPO on programs with tests, HumanEval",
        f"{_48_GB}; CodeAlpaca, HumanEval, programs with tests of your own; a sandbox",
    ),
)
"""The first one is the default."""


def find_recipe(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        UsageError: There is no such recipe.
    """
    names = [recipe.name for recipe in RECIPES]
    if name not in names:
        raise UsageError(
            f"there is no recipe `{name}`{nearest(name, names)}",
            hint="`lorapar recipes` lists them",
        )
    return RECIPES[names.index(name)]
