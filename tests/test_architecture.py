"""The walls of the house: imports run one way, wings are apart, and help needs nothing heavy."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import lorapar_cli

PACKAGE = Path(lorapar_cli.__file__).parent
WINGS = {"labelling", "scoring", "partition", "training", "evaluation"}
# A room may import rooms of lower floors and its own; rooms of one floor may import one another
# on the shared ground only.
FLOORS = [
    {
        "errors",
        "names",
        "events",
        "options",
        "model_options",
        "stage_records",
        "launcher",
        "libraries",
        "text_safety",
        "finite",
        "limits",
        "waiting",
        "plurals",
        "embedded",
    },
    {"elements", "grading", "store"},
    {"data", "models", "plots"},
    WINGS,
    {"tools"},
    {"comparison"},
    {"cli"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Values and tensors in, values and tensors out.
PURE = [
    *("elements", "labelling/votes/voting.py", "labelling/votes/reliability.py"),
    *("labelling/holdout.py", "partition/budget.py", "scoring/split_half.py"),
    *("grading/answers.py", "evaluation/metrics.py", "evaluation/intervals.py"),
    *(
        "comparison/report/estimators.py",
        "comparison/planning/search.py",
        "comparison/report/verdict.py",
    ),
    *(
        "training/recipes/replay.py",
        "training/recipes/rate_search.py",
        "training/rewards/builtin.py",
    ),
]
# What takes long to import: a module may leave it to the function that needs it.
HEAVY = {
    *("torch", "numpy", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors"),
    *("openai", "httpx2", "yaml", "jinja2", "rich", "matplotlib", "pyarrow", "tokenizers"),
    "huggingface_hub",
}
COMMANDS = [
    "classify",
    "score",
    "partition",
    "train-sft",
    "train-rl",
    "eval",
    "run",
    "demo",
    "compare",
    "sweep",
]


@dataclass(frozen=True)
class Import:
    """One import of ours: the module that has it, the module it names, whether it is in a function."""

    importer: str
    module: str
    inside: bool


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in ("lorapar_cli", *parts) if part != "__init__")


MODULES = {dotted(path): path for path in sources()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Returns every module that a file names in an import, and whether a function hides it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name if name in MODULES else node.module for name in names]
            found += [(module, id(node) in inside) for module in dict.fromkeys(modules)]
    return found


def own_imports() -> list[Import]:
    return [
        Import(importer, module, inside)
        for importer, path in MODULES.items()
        for module, inside in imports_of(path)
        if module.split(".")[0] == "lorapar_cli" and module != "lorapar_cli"
    ]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_file_is_in_a_room(module):
    assert module in ("lorapar_cli", "lorapar_cli.__main__") or room(module) in FLOOR_OF


@pytest.mark.parametrize("one", own_imports(), ids=lambda i: f"{i.importer}-{i.module}")
def test_imports_run_one_way(one):
    # The command of the embedded model and its recipe stand apart: nothing imports them.
    if one.importer in ("lorapar_cli.__main__", "lorapar_cli.embedded.__main__"):
        return
    above, below = room(one.importer), room(one.module)
    assert FLOOR_OF[below] <= FLOOR_OF[above], f"{one.importer} imports {one.module}"
    assert not ({above, below} <= WINGS and above != below), "wings do not import one another"


TEACHER_IMPORTS = [i for i in own_imports() if "labelling.teachers" in i.importer]


@pytest.mark.parametrize("one", TEACHER_IMPORTS, ids=lambda i: f"{i.importer}-{i.module}")
def test_teachers_do_not_know_what_becomes_of_their_answers(one):
    assert not one.module.startswith("lorapar_cli.labelling.votes")


def heavy_closure() -> set[str]:
    """Returns our modules that, once imported, have imported something that takes long."""
    top = {
        module: {m for m, inside in imports_of(path) if not inside}
        for module, path in MODULES.items()
    }
    heavy = {module for module, named in top.items() if {m.split(".")[0] for m in named} & HEAVY}
    while True:
        more = {
            module
            for module, named in top.items()
            if module not in heavy and any(_reaches(name, heavy) for name in named)
        }
        if not more:
            return heavy
        heavy |= more


def _reaches(name: str, heavy: set[str]) -> bool:
    """Returns whether importing a module of ours imports a heavy one: its packages come along."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in heavy for length in range(1, len(parts) + 1))


HEAVY_OURS = heavy_closure()


@pytest.mark.parametrize(
    "one", [i for i in own_imports() if i.inside], ids=lambda i: f"{i.importer}-{i.module}"
)
def test_imports_inside_functions_are_there_for_start_up_time_only(one):
    """A light module has no reason to be imported late, but to get around the one-way order."""
    if _is_command_line(one.importer):
        return
    assert _reaches(one.module, HEAVY_OURS), f"{one.importer} can import {one.module} at its top"


def _is_command_line(module: str) -> bool:
    # Each command imports its stage when it is called, so that `--help` imports none.
    return room(module) == "cli" or module == "lorapar_cli.__main__"


def pure_files() -> list[Path]:
    return [
        f
        for name in PURE
        for f in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).glob("*.py"))
    ]


@pytest.mark.parametrize("path", pure_files(), ids=lambda p: p.name)
def test_pure_files_touch_no_disk_and_no_library_but_numpy_and_torch(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and hasattr(n.func, "id")}
    assert not calls & {"open", "print"}
    outside = {m.split(".")[0] for m, _ in imports_of(path)} - set(sys.stdlib_module_names)
    assert outside <= {"numpy", "torch", "lorapar_cli"}
    assert not {m.split(".")[0] for m, _ in imports_of(path)} & {"pathlib", "os", "shutil", "io"}


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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_folders_have_few_files():
    folders = [path for path in PACKAGE.rglob("*") if path.is_dir()]
    assert [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > 16] == []
