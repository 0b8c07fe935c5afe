"""YAML run configurations, checked against the options of the commands themselves.

A section is named after its subcommand and its keys after that command's options, so that whatever
states an option, its range and its default for the command line states it for YAML too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from lorapar_cli.cli.options import describe_refusal
from lorapar_cli.cli.stage_command import read_options
from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.names import Stage
from lorapar_cli.options import Options
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.training.options import RlOptions, SftOptions

OPTIONS: dict[Stage, type[Options]] = {
    Stage.CLASSIFY: ClassifyOptions,
    Stage.SCORE: ScoreOptions,
    Stage.PARTITION: PartitionOptions,
    Stage.TRAIN_SFT: SftOptions,
    Stage.TRAIN_RL: RlOptions,
    Stage.EVAL: EvalOptions,
}
SHARED_KEYS = ("run_dir", "model", "seed", "trust_remote_code")


@dataclass(frozen=True)
class Step:
    """One stage to run.

    Attributes:
        stage: Which.
        context: The command's parsed and checked options, ready to be invoked.
    """

    stage: Stage
    context: Any

    def invoke(self) -> Any:
        """Runs the command and returns its Outcome, None where the command only shows something."""
        with self.context:
            return self.context.command.invoke(self.context)


def read_config(path: Path) -> dict[str, Any]:
    """Returns a configuration file's mapping.

    Raises:
        LoraparError: The file cannot be read or is not YAML.
        UsageError: It is not a mapping.
    """
    from lorapar_cli.store.yaml_file import read_yaml

    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"`{path}` is not a mapping of stages to settings")
    return content


def plan_steps(
    config: Mapping[str, Any], commands: Mapping[str, Any], overriding: Mapping[str, Any]
) -> list[Step]:
    """Returns the six stages in order, every option checked before anything runs.

    Args:
        config: What `read_config` returned. A stage without a section runs with its defaults.
        commands: Subcommand name -> command.
        overriding: Options that take precedence over the file's own shared keys, such as the run
            directory; None for those that the user did not give.

    Raises:
        UsageError: Unknown keys or values out of range, all of them in one message.
    """
    problems = _spelled_twice(config)
    config = {_dashed(key): value for key, value in config.items()}
    sections = [stage.value for stage in Stage]
    valid = [*sections, *map(_dashed, SHARED_KEYS)]
    problems += [f"`{key}` is unknown{nearest(key, valid)}" for key in config if key not in valid]
    shared = {key: config[key] for key in map(_dashed, SHARED_KEYS) if key in config}
    shared |= {_dashed(key): value for key, value in overriding.items() if value is not None}
    steps = []
    for stage in Stage:
        section = config.get(stage.value)
        section = {} if section is None else section
        if not isinstance(section, dict):
            problems.append(f"`{stage.value}` is not a mapping of options to values")
            continue
        step = _plan_step(stage, section, commands[stage.value], shared, problems)
        if step is not None:
            steps.append(step)
    if problems:
        raise UsageError("the configuration does not fit", "\n".join(problems))
    return steps


def _spelled_twice(section: Mapping[str, Any], where: str = "") -> list[str]:
    """Returns a problem for each key that occurs with dashes and with underscores."""
    keys = [_dashed(key) for key in section]
    return [f"`{where}{key}` occurs twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]


def _dashed(key: Any) -> str:
    return str(key).replace("_", "-")


def _plan_step(
    stage: Stage,
    section: Mapping[str, Any],
    command: Any,
    shared: Mapping[str, Any],
    problems: list[str],
) -> Step | None:
    """Returns the step, or None with what is wrong added to `problems`."""
    options = {_dashed(p.opts[0].lstrip("-")): p for p in command.params if p.name != "help"}
    problems += _spelled_twice(section, f"{stage.value}.")
    given = {_dashed(key): value for key, value in section.items()}
    unknown = [key for key in given if key not in options]
    problems += [
        f"`{stage.value}.{key}` is unknown{nearest(key, sorted(options))}" for key in unknown
    ]
    values = {key: value for key, value in shared.items() if key in options} | given
    unfit = [
        f"`{stage.value}.{key}` is {value!r}, not {wanted}"
        for key, value in values.items()
        if key in options and (wanted := _wanted(options[key], value)) is not None
    ]
    if unfit:
        problems += unfit
        return None
    context = _parse(stage, command, options, values, problems, bool(unknown))
    if context is None:
        return None
    try:
        # What the command line's parser does not know: exclusive limits, options that do not fit.
        read_options(OPTIONS[stage], context.params)
    except UsageError as error:
        said = [error.what, *(error.found or "").splitlines()]
        problems.append(f"`{stage.value}`: {'; '.join(said)}")
        return None
    return Step(stage, context)


def _parse(
    stage: Stage,
    command: Any,
    options: Mapping[str, Any],
    values: Mapping[str, Any],
    problems: list[str],
    misspelt: bool,
) -> Any:
    """Returns a command's context, or None with each value that it refuses added to `problems`.

    Args:
        misspelt: Whether a key is unknown, so that what seems to be missing may be there.
    """
    left = {key: value for key, value in values.items() if key in options}
    while True:
        arguments = [part for key in left for part in _as_arguments(options[key], left[key])]
        try:
            context = command.make_context(stage.value, arguments)
        except typer.TyperException as error:
            if not misspelt or type(error).__name__ != "MissingParameter":
                problems.append(f"`{stage.value}`: {describe_refusal(error)}")
            refused = [key for key in left if options[key] is getattr(error, "param", None)]
            if not refused:
                return None
            # The parser names one value at a time.
            left = {key: value for key, value in left.items() if key not in refused}
            continue
        return context if len(left) == sum(key in options for key in values) else None


# What YAML knows and nobody can type as one value.
_NOT_TYPED = (dict, list, bool, set, bytes, tuple)
# Kinds of options that no comma separates, by the names that the parser gives them.
_SINGLE = ("int", "int range", "float", "float range", "choice")


def _wanted(option: Any, value: Any) -> str | None:
    """Returns what a YAML value is not, where the command line could not tell; None where it fits."""
    if value is None:
        return None
    if option.param_type_name != "argument":
        if option.is_flag:
            return None if isinstance(value, bool) else "true or false"
        if option.multiple:
            listed = value if isinstance(value, list) else [value]
            pairs = all(isinstance(each, str) and "=" in each for each in listed)
            return None if isinstance(value, dict) or pairs else "a mapping or `KEY=VALUE`"
        if isinstance(value, list) and option.type.name in _SINGLE:
            return "one value"
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, _NOT_TYPED) or part is None for part in parts):
        return "a value or a list of values"
    return None


def _as_arguments(option: Any, value: Any) -> list[str]:
    """Returns a YAML value as it would be typed on the command line."""
    if value is None:
        return []
    if option.param_type_name == "argument":
        return [str(each) for each in (value if isinstance(value, list) else [value])]
    flag = option.opts[0]
    if option.is_flag:
        return [flag] if value else list(option.secondary_opts[:1])
    if option.multiple:
        listed = value if isinstance(value, list) else [value]
        pairs = value.items() if isinstance(value, dict) else [_pair(each) for each in listed]
        return [part for k, v in pairs for part in (flag, f"{k}={json.dumps(v, default=str)}")]
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return [flag, str(value)]


def _pair(text: Any) -> tuple[str, Any]:
    """Returns name and value of `KEY=VALUE`, the value read as YAML, or as text where it is none."""
    from lorapar_cli.store.yaml_file import parse_yaml

    key, _, value = str(text).partition("=")
    try:
        return key, parse_yaml(value)
    except ValueError as cause:
        raise UsageError(f"`{key}` is not followed by a YAML value", str(cause)) from cause
