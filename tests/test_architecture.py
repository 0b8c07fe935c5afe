"""The walls of the code: imports run one way, and help needs nothing heavy."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lorapar_cli

PACKAGE = Path(lorapar_cli.__file__).parent
LAYERS = ["names", "core", "store", "hub", "stages", "cli"]
TOP = {"errors": "names", "names": "names", "settings": "names", "embedded": "core"}
COMMANDS = ["classify", "score", "partition", "train-sft", "train-rl", "eval", "run", "demo"]


def layer_of(dotted: str) -> str | None:
    """Returns the layer of `lorapar_cli.<part>...`, None for the package itself."""
    parts = dotted.split(".")
    layer = TOP.get(parts[1], parts[1]) if len(parts) > 1 else None
    return layer if parts[0] == "lorapar_cli" and layer in LAYERS else None


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = layer_of(f"lorapar_cli.{path.relative_to(PACKAGE).parts[0]}")
    # The recipe of the embedded model builds a model and a tokenizer; nothing else of it does.
    heavy = {"transformers", "peft", "trl", "datasets"}
    for module in imported_modules(path):
        layer = layer_of(module)
        if layer is not None:
            assert LAYERS.index(layer) <= LAYERS.index(own), f"{path.name} imports {module}"
        if module.split(".")[0] in heavy and "embedded" not in path.parts:
            assert own == "hub", f"{path.name} imports {module}"
    if own == "stages":
        siblings = {m for m in imported_modules(path) if m.startswith("lorapar_cli.stages.")}
        assert not siblings, f"{path.name} imports {siblings}"


def test_core_and_names_touch_no_disk():
    for path in [*(PACKAGE / "core").glob("*.py"), PACKAGE / "names.py", PACKAGE / "errors.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and hasattr(n.func, "id")
        }
        assert not calls & {"open", "print"}, path.name


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_no_torch(arguments):
    code = (
        "import sys\nfrom lorapar_cli.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as done:\n    code = done.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets', 'peft', 'openai'} & set(sys.modules)\n"
        "print('CODE', code, 'HEAVY', sorted(heavy))"
    )
    assert run_python(code).splitlines()[-1] == "CODE 0 HEAVY []"


def test_help_answers_within_twice_the_time_of_typer_and_rich():
    """The best of several runs each, in turn, so that a busy machine slows both alike."""

    def seconds(arguments: list[str]) -> float:
        start = time.perf_counter()
        environment = {"PATH": os.environ["PATH"]}
        subprocess.run(arguments, check=True, capture_output=True, env=environment)
        return time.perf_counter() - start

    floor, ours = [], []
    for _ in range(7):
        floor.append(seconds([sys.executable, "-c", "import typer, rich"]))
        ours.append(seconds([sys.executable, "-m", "lorapar_cli", "score", "--help"]))
    assert min(ours) < 2 * min(floor)
