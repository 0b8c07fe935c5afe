"""The documentation is true: command reference, links, named commands, files and folders."""

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorapar_cli
from lorapar_cli.cli.command_index import COMMANDS
from tests.docs.blocks import command_lines, is_command_of_ours, reason_not_to_run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
# From where a reader gets to every page.
ENTRANCES = [ROOT / "README.md", DOCS / "README.md"]
# A path below one of these folders names a file of this repository.
FOLDERS = ("tests", "lorapar_cli", "sample_configs", "docs", "benchmarks", "evidence")
PACKAGE = Path(lorapar_cli.__file__).parent
# Options of pip, ruff, git, torchrun, accelerate and of `python -m lorapar_cli.embedded`.
OPTIONS_OF_OTHER_TOOLS = {
    *("--check", "--nproc_per_node", "--nnodes", "--multi_gpu", "--config_file", "--per-system"),
    *("--help", "--version"),
    # pip, pipx and uv
    *("--constraint", "--constraints", "--pip-args", "--python", "--no-deps", "--wheel-dir"),
    *("--index-url", "--no-index", "--find-links", "--torch-backend", "--with"),
    # vLLM
    *("--enable-lora", "--max-lora-rank", "--max-loras", "--logprobs-mode"),
    *("--lora-modules",),
    # llama.cpp
    *("--outfile", "--base", "--lora"),
    # `python -m evidence`
    *("--work",),
    # `python -m tests.faults`
    *("--quick", "--seed", "--only", "--update-docs", "--patience"),
}
# Folders of data, which a list of rooms need not name.
NO_ROOMS = {"data", "model"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def each_page(function):
    return pytest.mark.parametrize("page", PAGES, ids=name_of)(function)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links_of(page: Path) -> list[tuple[str, str]]:
    """Returns path and anchor of each link that stays in the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    split = [target.partition("#") for target in targets if not target.startswith("http")]
    return [(path, anchor) for path, _, anchor in split]


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    text = without_code(page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_of(text: str) -> list[str]:
    """Returns the text of code blocks and of spans in backticks."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [*blocks, *re.findall(r"`([^`]+)`", without_code(text))]


def named_paths(text: str) -> Iterator[str]:
    """Yields what looks like a path of this repository, patterns and placeholders included."""
    for code in code_of(text):
        for word in re.split(r"[\s'\",()]+", code):
            folder, slash, rest = word.partition("/")
            if folder in FOLDERS and slash and rest:
                yield word.partition("::")[0].rstrip(".:;")


def is_there(path: str) -> bool:
    """Returns whether a path, or something that fits its pattern, is in the repository."""
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    return any(True for _ in ROOT.glob(pattern))


@pytest.mark.parametrize(
    ("generator", "page"),
    [("generate_commands.py", "commands.md"), ("generate_json.py", "reference/json.md")],
)
def test_generated_references_are_current(generator, page):
    made = subprocess.run(
        [sys.executable, str(DOCS / generator)], capture_output=True, text=True, check=True
    ).stdout
    assert made == (DOCS / page).read_text(encoding="utf-8"), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_that_of_its_docstring(name):
    """`lorapar_cli/cli/command_index.py` repeats it, so that help imports no command."""
    written = inspect.getdoc(COMMANDS[name].load()).split("\n\n")[0].replace("\n", " ")
    assert COMMANDS[name].summary == written


def test_the_schemas_are_as_generated():
    place = DOCS / "generate_schemas.py"
    spec = importlib.util.spec_from_file_location("generate_schemas", place)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    made = generator.schemas()
    assert len(made) == 3
    for name, text in made.items():
        written = (PACKAGE / "cli" / "schemas" / name).read_text(encoding="utf-8")
        assert written == text, "run `make docs`"


@each_page
def test_links_lead_somewhere(page):
    for path, anchor in links_of(page):
        target = page.parent / path if path else page
        assert target.exists(), f"{name_of(page)} links to {path}"
        if anchor:
            assert anchor in anchors_of(target), f"{name_of(page)} links to {path}#{anchor}"


@each_page
def test_named_commands_exist(page):
    from lorapar_cli.cli import main

    main.register()
    known = {command.name for command in main.app.registered_commands}
    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    for name in re.findall(r"(?:^|\s)lorapar ([a-z][a-z-]*)", code):
        assert name in known, f"{name_of(page)}: lorapar {name}"


@each_page
def test_named_files_exist(page):
    for path in named_paths(page.read_text(encoding="utf-8")):
        assert is_there(path), f"{name_of(page)} names {path}"


@each_page
def test_named_options_exist(page):
    """An option in backticks belongs to one of the commands, or to a tool named here."""
    reference = (DOCS / "commands.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(--[a-z][\w-]*)`", reference)) | OPTIONS_OF_OTHER_TOOLS
    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
        assert option in known, f"{name_of(page)}: {option}"


@each_page
def test_tests_picked_by_name_exist(page):
    """`pytest FILE -k WORD` picks at least one test."""
    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    for path, word in re.findall(r"pytest .*?(tests/\S+\.py) -k (\w+)", code):
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"def test_\w*{word}", source), f"{name_of(page)}: {path} -k {word}"


@each_page
def test_named_benchmarks_exist(page):
    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    for name in re.findall(r"python -m benchmarks ([a-z]+)", code):
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), f"{name_of(page)}: {name}"


@each_page
def test_named_studies_exist(page):
    from evidence.__main__ import COMMANDS

    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    for name in re.findall(r"python -m evidence ([a-z][a-z-]*)", code):
        assert name in (*COMMANDS, "page"), f"{name_of(page)}: {name}"


def test_every_command_line_is_run_or_listed():
    """`tests/docs/test_blocks.py` runs lines of `lorapar`; others are in `tests/docs/blocks.toml`."""
    for line in command_lines():
        listed = reason_not_to_run(line) is not None
        assert listed or is_command_of_ours(line.text), f"{line.page}: {line.text}"


def yaml_of(page: str) -> str:
    """Returns a page's one YAML example."""
    (example,) = re.findall(
        r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE
    )
    return example


def test_the_example_of_a_configuration_is_valid(tmp_path):
    import typer

    from lorapar_cli.cli import main
    from lorapar_cli.cli.config import plan_steps, read_config

    main.register()
    path = tmp_path / "run.yaml"
    path.write_text(yaml_of("reference/configuration.md"))
    steps = plan_steps(read_config(path), typer.main.get_command(main.app).commands, {})
    assert len(steps) == 6


def test_the_example_of_a_teachers_file_is_valid(tmp_path):
    from lorapar_cli.labelling.teachers.catalog import known_teachers

    (tmp_path / "models" / "reasoner").mkdir(parents=True)
    path = tmp_path / "teachers.yaml"
    path.write_text(yaml_of("reference/teachers.md").replace("hf:", f"hf:{tmp_path}/"))
    known = known_teachers(path)
    assert known["mine"].model == "big-model"
    assert known["student"].max_tokens == 8192
    assert known["qwen"].price.output == 1.2


def test_every_page_can_be_reached():
    reached, waiting = set(), list(ENTRANCES)
    while waiting:
        page = waiting.pop().resolve()
        if page in reached:
            continue
        reached.add(page)
        targets = (page.parent / path for path, _ in links_of(page) if path.endswith(".md"))
        waiting += [target for target in targets if target.exists()]
    lost = [name_of(page) for page in PAGES if page.resolve() not in reached]
    assert not lost, "no link leads to these pages"


def rooms() -> list[str]:
    folders = (path for path in PACKAGE.rglob("*") if path.is_dir() and "_" not in path.name[:2])
    embedded = PACKAGE / "embedded"
    return sorted(
        f"lorapar_cli/{path.relative_to(PACKAGE).as_posix()}/"
        for path in folders
        if not (path.parent == embedded and path.name in NO_ROOMS)
    )


@pytest.mark.parametrize("room", rooms())
def test_every_room_is_described_for_agents(room):
    assert f"| `{room}` |" in (ROOT / "AGENTS.md").read_text(encoding="utf-8")
