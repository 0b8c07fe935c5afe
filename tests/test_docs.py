"""What the documentation says stands: the command reference, its links, its files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_command_reference_is_current():
    made = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_commands.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_commands_exist(page):
    from lorapar_cli.cli import main

    main.register()
    known = {command.name for command in main.app.registered_commands}
    for name in re.findall(r"`lorapar ([a-z][a-z-]*)", page.read_text(encoding="utf-8")):
        assert name in known, f"{page.name}: lorapar {name}"
