"""Builds the documentation as a web site in `site/`, which reads from the disk and asks nothing of a network.

    python docs/build_site.py [OUT]

Pages are those of docs/, and what they link to elsewhere in the repository. The navigation is the
index, docs/README.md. A link that leads nowhere ends the build.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
# Style and script of our own, copied to the top of the site.
WEB = DOCS / "web"
# Sections of the index that are not parts of the site of their own: their pages are.
FLAT = {"Background"}
SETTINGS = """[project]
site_name = "lorapar"
site_description = "Fine-tune LLMs in two systems: LoRA-PAR from the command line"
copyright = "Apache-2.0"
docs_dir = "source"
site_dir = "made"
use_directory_urls = false
extra_css = ["site.css"]
nav = {nav}

[project.theme]
variant = "classic"
language = "en"
font = false
features = ["navigation.sections", "navigation.footer", "navigation.top", "content.code.copy", "search.highlight"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Switch to dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Switch to light"

# As on GitHub: the same anchors, and no symbols or emoji made from letters.
[project.markdown_extensions.tables]

[project.markdown_extensions.toc]
permalink = true
slugify = {{ object = "pymdownx.slugs.slugify", kwds = {{ case = "lower" }} }}

[project.markdown_extensions.pymdownx.highlight]

[project.markdown_extensions.pymdownx.superfences]

[project.plugins.search]

[project.plugins.offline]
"""
# Browsers start no worker from a file. Zensical's answer comes from a content delivery network.
OUTSIDE_SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')
SHIM = "worker.js"
OPTION = re.compile(r"<code>(--[\w-]+)</code>")
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)


def place_of(path: Path) -> Path:
    """Returns where a file of the repository lies in the site: docs/ at its top, others as they are."""
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT)


def write_source(source: Path) -> None:
    """Writes the pages of docs/ and every file that is linked to, with links as they are in the site."""
    waiting, done = sorted(DOCS.rglob("*.md")), set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        target = source / place_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copyfile(path, target)
            continue
        parts = FENCE.split(path.read_text(encoding="utf-8"))
        linked: list[Path] = []
        parts[::2] = [_relink(part, path, linked) for part in parts[::2]]
        target.write_text("".join(parts), encoding="utf-8")
        waiting += linked


def _relink(text: str, page: Path, linked: list[Path]) -> str:
    def replace(found: re.Match[str]) -> str:
        path = (page.parent / found[1]).resolve()
        if not path.is_file():
            raise SystemExit(f"{page.relative_to(ROOT)} links to {found[1]}, which is not there")
        linked.append(path)
        up = "../" * len(place_of(page).parent.parts)
        return f"{up}{place_of(path).as_posix()}{found[2] or ''}"

    return LINK.sub(replace, text)


def navigation() -> list[dict]:
    """Returns the sections of the index with their pages, in the form of the site's settings."""
    nav: list[dict] = [{"Home": INDEX.name}]
    for section in INDEX.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = section.partition("\n")[0].partition(":")[0]
        pages = [
            {title: path} for title, path in re.findall(r"^- \[(.+?)\]\((.+?)\)", section, re.M)
        ]
        nav += pages if heading in FLAT else [{heading: pages}]
    return nav


def as_toml(value: list | dict | str) -> str:
    """Returns a value of the navigation; JSON's strings are TOML's."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {as_toml(each)}' for key, each in value.items())} }}"
    return json.dumps(value)


def build(work: Path, out: Path) -> None:
    """Builds the site.

    Args:
        work: Folder of what is needed on the way; replaced.
        out: Folder of the site; replaced once the new one is whole.
    """
    shutil.rmtree(work, ignore_errors=True)
    write_source(work / "source")
    for each in sorted(WEB.iterdir()):
        shutil.copyfile(each, work / "source" / each.name)
    (work / "zensical.toml").write_text(
        SETTINGS.format(nav=as_toml(navigation())), encoding="utf-8"
    )
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    subprocess.run(command, cwd=work, check=True)
    for page in (work / "made").rglob("*.html"):
        up = "../" * len(page.relative_to(work / "made").parent.parts)
        text = page.read_text(encoding="utf-8")
        text = OUTSIDE_SHIM.sub(f'<script src="{up}{SHIM}"></script>', text)
        page.write_text(OPTION.sub(r'<code class="option">\1</code>', text), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work / "made", out)


if __name__ == "__main__":
    build(ROOT / "build" / "site", Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
