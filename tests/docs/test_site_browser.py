"""The site in a real browser, from the disk: it asks nothing of a network, its search works, it fits."""

import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# What Chromium asks for itself, whatever the page; fonts and scripts of Google's have other hosts.
OWN = re.compile(r"(https?://)?(accounts|clients\d|www|update)\.google\.com|redirector\.gvt1\.com")
# Types a word into the search and writes down what it finds; the search is in shadow trees.
SEARCH = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = (root, found = []) => {
    for (const each of root.querySelectorAll("*")) {
      found.push(each);
      if (each.shadowRoot) all(each.shadowRoot, found);
    }
    return found;
  };
  document.querySelector(".md-search__button").click();
  setTimeout(() => {
    const input = all(document).find((each) => each.role === "combobox");
    input.value = "theta";
    input.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    setTimeout(() => {
      const links = all(document).filter((each) => each.href && each.getRootNode() !== document);
      const mark = document.createElement("p");
      mark.id = "found";
      mark.textContent = JSON.stringify(links.map((each) => each.href));
      document.body.append(mark);
    }, 2000);
  }, 1000);
}, 500));
</script></body>"""
# Once the site's own script has put wide tables into boxes that scroll.
WIDTH = """<script>
addEventListener("load", () => setTimeout(() => {
  const mark = document.createElement("p");
  mark.id = "found";
  mark.textContent = document.documentElement.scrollWidth + " " + innerWidth;
  document.body.append(mark);
}, 2000));
</script></body>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.extra("zensical"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture
def proxy():
    """Address of a proxy that refuses everything, and what was asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def refuse(self):
            if not OWN.match(self.path):
                asked.append(self.path)
            self.send_error(502)

        do_GET = do_POST = do_CONNECT = refuse

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def look(page, proxy, script, *options):
    """Returns what a script writes down that is put at the end of a page, and errors of the console."""
    copy = page.with_name(f"looked-at-{page.name}")
    copy.write_text(page.read_text().replace("</body>", script))
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--disable-background-networking", "--disable-component-update"),
            *(f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"),
            *("--virtual-time-budget=10000", "--dump-dom", *options, copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    copy.unlink()
    found = re.search(r'<p id="found">([^<]*)</p>', done.stdout)
    assert found, done.stdout[-2000:]
    return found[1], [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_it_asks_nothing_of_a_network_and_its_search_finds_pages(site, proxy):
    address, asked = proxy
    found, errors = look(site / "index.html", address, SEARCH)
    assert any("concepts/partition.html" in link for link in json.loads(found))
    assert errors == []
    assert asked == []


def test_what_a_page_loads_from_elsewhere_is_seen(site, proxy):
    address, asked = proxy
    look(site / "index.html", address, f'<img src="http://example.org/x.png">{WIDTH}')
    assert asked == ["http://example.org/x.png"]


@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", ["index", "commands", "paper", "guides/install", "reference/data"])
def test_it_fits_the_screen(site, proxy, name, width):
    address, asked = proxy
    found, errors = look(site / f"{name}.html", address, WIDTH, f"--window-size={width},900")
    needed, there = map(int, found.split())
    assert needed <= there <= width
    assert errors == []
    assert asked == []
