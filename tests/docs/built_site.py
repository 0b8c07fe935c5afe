"""The site as it is built, and what its pages link to and load."""

import importlib.util
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
# Elements whose address a browser fetches by itself. Of links, only those to style and pictures.
LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object|link)\b[^>]*?\s(?:src|data|href)="
    r'"?([^\s">]+)'
)
CSS_LOADS = re.compile(r"(?:url\(|@import\s+)[\"']?([^\"')\s;]+)")
LINKS = re.compile(r'<a\b[^>]*?\shref="?([^\s">]+)')
IDS = re.compile(r'\s(?:id|name)="?([^\s">]+)')


def builder():
    """Returns docs/build_site.py as a module."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_outside(address: str) -> bool:
    return re.match(r"(?:[a-z]+:)?//", address) is not None


def outside_loads(site: Path) -> list[str]:
    """Returns what pages and styles would fetch from elsewhere."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            loads = LOADS.findall(path.read_text(encoding="utf-8"))
        elif path.suffix == ".css":
            loads = CSS_LOADS.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        found += [f"{path.relative_to(site)}: {each}" for each in loads if is_outside(each)]
    return found


def dead_links(site: Path) -> list[str]:
    """Returns the links and loads of pages that lead to no file of the site, or to no place in it."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    places = {path: {unescape(each) for each in IDS.findall(text)} for path, text in pages.items()}
    dead = []
    for page, text in pages.items():
        # The page of errors is shown in place of any other: its addresses start at the top.
        home = site if page.name == "404.html" else page.parent
        for address in {*LINKS.findall(text), *LOADS.findall(text)}:
            if is_outside(address) or address.startswith(("mailto:", "data:", "javascript:")):
                continue
            path, _, anchor = unquote(unescape(address)).partition("#")
            target = (home / path.lstrip("/")).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and anchor not in places.get(target, ())):
                dead.append(f"{page.relative_to(site)}: {address}")
    return sorted(dead)
