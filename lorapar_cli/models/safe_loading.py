"""Loading models that others made: whole, finite, and nothing of theirs executed or waited for.

Covered: files that are not regular, pickled weights, an index that points outside the folder, weights
that do not fit the configuration, NaN and infinity, libraries that fail over what stands in a file,
and chat templates that do not end. Not covered: a tokenizer that is slow, and weights that are valid
and wrong.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import torch
from peft import LoraConfig

from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import kind_of, read_json
from lorapar_cli.store.tensor_files import open_tensors, read_shapes

_NAMED = 5
_FRACTIONS = ("F", "BF")
_PATTERN_SECONDS = 10
_MATCH = """
import json, re, sys
patterns, names = map(json.loads, sys.stdin.read().split("\\n"))
for pattern in patterns:
    compiled = re.compile(pattern)
    for name in names:
        compiled.fullmatch(name)
"""
_TEMPLATE_SECONDS = 10
_TEMPLATE_BYTES = 1 << 30
# As transformers renders; a conversation of every role, so that loops over messages run.
_RENDER = """
import sys
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
)
environment.filters["tojson"] = lambda value, **_: str(value)
environment.globals["strftime_now"] = lambda format: "2026-01-01"
def refuse(message):
    raise ValueError(message)
environment.globals["raise_exception"] = refuse
text = sys.stdin.read().replace("{% generation %}", "").replace("{% endgeneration %}", "")
messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
try:
    environment.from_string(text).render(
        messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>", tools=None
    )
except MemoryError:
    sys.exit(3)
except Exception:
    pass  # What a template refuses is found out when it renders the records.
"""


def check_folder_files(folder: Path) -> None:
    """Checks what a model folder contains, before a library opens any of it.

    Raises:
        LoraparError: A file is not a regular file, the weights are pickled only, or their index
            names a file outside the folder.
    """
    for path in sorted(folder.iterdir()):
        try:
            mode = path.stat().st_mode
        except OSError as cause:
            raise LoraparError(f"cannot read `{path}`", cause.strerror) from cause
        if (kind := kind_of(mode)) is not None and not path.is_dir():
            raise LoraparError(f"`{path}` is not a file", f"it is {kind}")
    config = folder / "config.json"
    if config.exists() and not isinstance(read_json(config), dict):
        raise LoraparError(f"`{config}` is not a model's configuration", "it is not a JSON object")
    for index in folder.glob("*.index.json"):
        content = read_json(index)
        places = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(places, dict):
            raise LoraparError(f"`{index}` is damaged", "it has no `weight_map`")
        for name in set(places.values()):
            if not isinstance(name, str) or PurePath(name).name != name:
                raise LoraparError(f"`{index}` names a file outside its folder", repr(name))
            if index.name.startswith("model.safetensors") and not (folder / name).is_file():
                raise LoraparError(
                    f"`{folder / name}` is missing", f"`{index.name}` names it", "copy it there"
                )
    pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
    if pickled and not any(folder.glob("*.safetensors")):
        raise LoraparError(
            f"the weights in `{folder}` are pickled",
            pickled[0].name,
            "save the model again with `save_pretrained`, which writes safetensors; pickled files "
            "can execute code and are not read",
        )


def check_layers(folder: Path, layers: int | None) -> None:
    """Refuses a configuration with more layers than a folder has tensors.

    The library would build all of them first, and only then miss their weights.

    Raises:
        LoraparError: There are fewer tensors than layers, or a file of weights cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not isinstance(layers, int):
        return
    tensors = sum(len(read_shapes(path)) for path in files)
    if layers > tensors:
        raise LoraparError(
            f"the weights in `{folder}` do not fit its `config.json`",
            f"{counted(layers, 'layer')}, {counted(tensors, 'tensor')}",
            "use the configuration that belongs to these weights",
        )


def check_dtypes(name: str, folder: Path, model: torch.nn.Module) -> None:
    """Refuses whole numbers where a model computes with fractions: they were cut off or are no weights.

    Raises:
        LoraparError: Names the first such tensor.
    """
    computed = {
        place for place, parameter in model.named_parameters() if parameter.is_floating_point()
    }
    for path in sorted(folder.glob("*.safetensors")):
        with open_tensors(path) as file:
            for place in sorted(computed.intersection(file.keys())):
                kind = file.get_slice(place).get_dtype()
                if not kind.startswith(_FRACTIONS):
                    raise LoraparError(
                        f"base model `{name}` has weights of another kind than its configuration",
                        f"`{place}` in `{path.name}` has the type {kind}",
                        "restore its files",
                    )


def check_patterns(folder: Path, config: LoraConfig, names: Sequence[str]) -> None:
    """Tries an adapter's regular expressions on a model's modules, in a process with a time limit.

    Lists of names, which PEFT writes of its own accord, need no trial.

    Args:
        names: Of all modules of the base model.

    Raises:
        LoraparError: A pattern does not compile, or does not end.
    """
    patterns = [each for each in (config.target_modules, config.exclude_modules) if each]
    whole = [each for each in patterns if isinstance(each, str) and each != "all-linear"]
    keys = [*(config.rank_pattern or {}), *(config.alpha_pattern or {})]
    ends = [rf"(?:.*\.)?(?:{key})$" for key in keys]
    if not whole and not ends:
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _MATCH],
            input=json.dumps([*whole, *ends]) + "\n" + json.dumps(list(names)),
            capture_output=True,
            text=True,
            timeout=_PATTERN_SECONDS,
            check=False,
        )
        found = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except subprocess.TimeoutExpired:
        found = [f"not matched with {counted(len(names), 'name')} within {_PATTERN_SECONDS} s"]
    if found is not None:
        raise LoraparError(
            f"adapter `{folder}` has a pattern of modules that cannot be used",
            found[0] if found else None,
            "list the modules in its `adapter_config.json` by name",
        )


@contextmanager
def library_errors(what: str, hint: str | None = None) -> Iterator[None]:
    """Turns what a library raises over a model's files into an expected error.

    Args:
        what: The error's first line.

    Raises:
        LoraparError: Anything was raised but an interrupt or running out of memory.
    """
    try:
        yield
    except (LoraparError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as cause:
        # Files of others may hold anything, and the libraries raise whatever comes of it.
        lines = [line for line in str(cause).strip().splitlines() if line.strip()]
        found = f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
        raise LoraparError(what, found[:500], hint) from cause


def load_weights(
    load: Callable[..., Any], name: str, path: str, options: dict[str, Any]
) -> torch.nn.Module:
    """Returns a model whose weights are exactly those that its configuration asks for, and finite.

    Args:
        load: `from_pretrained` of an automatic class.
        name: What the user calls the model.
        path: Folder or hub id.

    Raises:
        LoraparError: Weights are missing, left over, of other shapes or kinds, or not finite.
    """
    with library_errors(
        f"cannot load base model `{name}`", "check that its weights fit its `config.json`"
    ):
        model, report = load(path, output_loading_info=True, use_safetensors=True, **options)
    check_dtypes(name, Path(path), model)
    for key, what in (
        ("missing_keys", "has no weights for"),
        ("unexpected_keys", "has weights that its configuration does not use:"),
        ("mismatched_keys", "has weights of other shapes for"),
    ):
        if names := sorted(str(each) for each in report.get(key) or []):
            shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            raise LoraparError(
                f"base model `{name}` {what} {counted(len(names), 'tensor')}",
                shown,
                "use the configuration that belongs to these weights",
            )
    require_finite(name, model)
    loaded: torch.nn.Module = model
    return loaded


def require_finite(name: str, model: torch.nn.Module) -> None:
    """Refuses NaN and infinity in a model's weights.

    Raises:
        LoraparError: Names the first tensor that has one.
    """
    for place, parameter in model.named_parameters():
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise LoraparError(
                f"base model `{name}` has weights that are not finite",
                f"NaN or infinity in `{place}`",
                "restore its files, or load it with a `--dtype` of larger range",
            )


@cache
def check_template(text: str) -> None:
    """Renders a chat template once, in a process whose time and memory are limited.

    Raises:
        LoraparError: It does not end within 10 s, or needs more than 1 GiB.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_TEMPLATE_BYTES, _TEMPLATE_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_TEMPLATE_SECONDS, _TEMPLATE_SECONDS))

    try:
        done = subprocess.run(
            [sys.executable, "-c", _RENDER],
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=2 * _TEMPLATE_SECONDS,
            preexec_fn=limit,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        ended = done.returncode
    except subprocess.TimeoutExpired:
        ended = -9
    if ended:
        why = (
            "needs more than 1 GiB" if ended == 3 else f"does not end within {_TEMPLATE_SECONDS} s"
        )
        raise LoraparError(
            "the chat template cannot be used",
            f"rendering two messages {why}",
            "give another template with `--template`",
        )
