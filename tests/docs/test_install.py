"""docs/guides/install.md knows every extra, and names versions that are pinned."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "install.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_is_listed():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Extras")[2], re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["optional-dependencies"].keys() - {"dev"})


def test_versions_are_those_of_constraints_and_project():
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    (torch,) = set(re.findall(r"torch==[\d.]+\d", PAGE))
    assert torch in pinned
    assert f"PyTorch {torch.removeprefix('torch==').rpartition('.')[0]} " in PAGE
    assert PROJECT["requires-python"] == f">={min(re.findall(r'3[.]1[0-9]', PAGE))}"
