"""Loading models that others made: whole, finite, and nothing of theirs executed or waited for.

Covered: files that are not regular, pickled weights, an index that points outside the folder, weights
that do not fit the configuration, NaN and infinity, libraries that fail over what stands in a file,
and chat templates that do not end. Not covered: a tokenizer that is slow, and weights that are valid
and wrong.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import kind_of, read_json

_NAMED = 5
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
        LoraparError: Weights are missing, left over, of other shapes, or not finite.
    """
    with library_errors(
        f"cannot load base model `{name}`", "check that its weights fit its `config.json`"
    ):
        model, report = load(path, output_loading_info=True, use_safetensors=True, **options)
    for key, what in (
        ("missing_keys", "has no weights for"),
        ("unexpected_keys", "has weights that its configuration does not use:"),
        ("mismatched_keys", "has weights of other shapes for"),
    ):
        if names := sorted(str(each) for each in report.get(key) or []):
            shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            raise LoraparError(
                f"base model `{name}` {what} {len(names)} tensors",
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
