"""Whether Liger has kernels for a model: where it has none, it does nothing and says nothing."""

import warnings

import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import transformers_model

# TRL's advice is to download kernels when training starts (docs/decisions.md), and the warning
# carries the name of whoever called its trainer.
warnings.filterwarnings("ignore", r"`use_liger_kernel=True` is deprecated", FutureWarning)


def require_kernels(model: torch.nn.Module) -> None:
    """Checks that Liger knows the model's family.

    Args:
        model: With or without an adapter.

    Raises:
        LoraparError: It does not.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    family = transformers_model(model).config.model_type
    if family not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise LoraparError(
            "`--liger` has no kernels for this base model",
            f"Liger does not know models of type `{family}`",
            "omit `--liger`",
        )
