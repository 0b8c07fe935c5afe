"""The page in a real browser: nothing is asked of the network, nothing goes wrong, nothing overflows."""

import http.server
import re
import shutil
import subprocess
import threading

import pytest

from lorapar_cli.tools.page.page import run_page, write_page
from tests.tools.page.pages import write_partitioned_run, write_samples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FRAME = """<!DOCTYPE html><iframe id=f width={width} height=900 src="/report.html"></iframe>
<script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  document.title = JSON.stringify([root.scrollWidth, frame.contentDocument.images.length,
    frame.contentDocument.querySelectorAll("svg[role=img]").length]);
  const mark = document.createElement("p");
  mark.id = "found";
  mark.textContent = document.title;
  document.body.append(mark);
}};
</script>"""

# As many modules as a model has whose every linear layer has an adapter, and as many layers.
MATRICES = {
    f"base_model.model.layers.{layer}.{module}_proj.lora_{matrix}.weight": (4, 6)
    for layer in range(32)
    for module in ("down", "gate", "k", "o", "q", "up", "v")
    for matrix in "AB"
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture
def site(tmp_path):
    """A server of one page, and the paths that were asked of it."""
    root = write_partitioned_run(tmp_path / "run", shapes=MATRICES)
    write_samples(root.folder("eval/test"), text="a long text " * 40)
    write_page(run_page(root), tmp_path / "site" / "report.html")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "site"))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def look(address, *options):
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--virtual-time-budget=5000", "--dump-dom", *options, address),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(site, width):
    folder, address, asked = site
    (folder / "frame.html").write_text(FRAME.format(width=width))
    dom, errors = look(f"{address}/frame.html")
    found = re.search(r'<p id="found">\[(\d+),(\d+),(\d+)\]', dom)
    assert found, dom
    assert int(found[1]) <= width
    assert int(found[3]) == 4
    assert errors == []
    assert {path for path in asked if path != "/favicon.ico"} == {"/frame.html", "/report.html"}


def test_words_of_figures_are_large_enough_on_a_phone(site):
    folder, address, _ = site
    script = """
const pixels = (each) => parseFloat(frame.contentWindow.getComputedStyle(each).fontSize)
  * Math.hypot(each.ownerSVGElement.getScreenCTM().a, each.ownerSVGElement.getScreenCTM().b);
const small = [...frame.contentDocument.querySelectorAll("svg text")].filter(
  (each) => each.textContent.trim() && pixels(each) < 9);
document.title = JSON.stringify([small.length, frame.contentDocument.querySelectorAll("svg text").length, 0]);"""
    frame = FRAME.format(width=390).replace("  const mark", f"{script}\n  const mark")
    (folder / "words.html").write_text(frame)
    dom, _ = look(f"{address}/words.html")
    found = re.search(r'<p id="found">\[(\d+),(\d+),', dom)
    assert found, dom
    assert int(found[1]) == 0
    assert int(found[2]) > 20
