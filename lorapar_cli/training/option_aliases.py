"""Options of the training stages by the names that TRL's trainer configurations have for them."""

import dataclasses
import math
from typing import Any, TypeVar

import yaml

from lorapar_cli.errors import UsageError
from lorapar_cli.training.options import RlOptions, SftOptions

# Trainer's argument -> field of the options.
_FIELDS = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "per_device_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "lr_scheduler_type": "scheduler",
    "warmup_steps": "warmup",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "optim": "optimizer",
    "gradient_checkpointing": "gradient_checkpointing",
    "save_steps": "save_steps",
    "report_to": "report_to",
    "seed": "seed",
    "max_length": "max_length",
    "num_generations": "num_generations",
    "temperature": "temperature",
    "beta": "kl_beta",
    "adam_beta2": "adam_beta2",
    "max_completion_length": "max_completion_length",
}
_ANY_WHOLE = {"max_steps", "seed"}

Options = TypeVar("Options", SftOptions, RlOptions)


def adopt_options(options: Options, given: list[str] | None) -> Options:
    """Returns the options with what `training` says of them under the trainer's names moved there.

    So a value counts the same, in checks and in the manifest, whichever name it was given by.

    Args:
        given: Names of the options that the user gave themselves.

    Raises:
        UsageError: A value is of the wrong kind, or was given by both names.
    """
    own = {field.name for field in dataclasses.fields(options)}
    moved, rest, problems = {}, [], []
    for pair in options.training:
        key, equals, text = pair.partition("=")
        field = _FIELDS.get(key.strip().replace("-", "_"))
        if not equals or field not in own:
            rest.append(pair)
        elif field in (given or []):
            problems.append(f"`{key}` and `--{field.replace('_', '-')}` are both given")
        else:
            try:
                moved[field] = _read(field, text, type(getattr(options, field)))
            except (ValueError, TypeError, yaml.YAMLError):
                problems.append(f"`{pair}` is no value of `--{field.replace('_', '-')}`")
    if problems:
        raise UsageError("training arguments do not fit the options", "\n".join(problems))
    return dataclasses.replace(options, **moved, training=tuple(rest))


def _read(field: str, text: str, kind: type) -> Any:
    """Returns the text as a value of the option's kind.

    Raises:
        ValueError, TypeError: It is none.
    """
    value = yaml.safe_load(text)
    if kind is float:
        # YAML takes 1e-4 for a word.
        number = math.nan if isinstance(value, bool) else float(value)
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(text)
        return number
    if type(value) is not kind or (kind is int and value < 1 and field not in _ANY_WHOLE):
        raise ValueError(text)
    return value
