"""The site: whole, without dead links, and without anything that it fetches from elsewhere."""

import re
import shutil

import pytest

from tests.docs.built_site import ROOT, builder, dead_links, outside_loads

needs_zensical = pytest.mark.extra("zensical")


@needs_zensical
def test_every_page_of_the_documentation_is_there_and_in_the_navigation(site):
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    built = {page.with_suffix(".html").as_posix() for page in pages} - {"README.html"}
    assert all((site / page).is_file() for page in built)
    navigation = (site / "index.html").read_text().partition('<div class="md-content"')[0]
    assert built <= set(re.findall(r'href="(?:\./)?([^"#]+)"', navigation))


@needs_zensical
def test_no_link_is_dead(site):
    assert dead_links(site) == []


@needs_zensical
def test_nothing_is_fetched_from_elsewhere(site):
    assert outside_loads(site) == []


@needs_zensical
def test_parts_are_those_that_readers_look_for(site):
    navigation = (site / "index.html").read_text()
    titles = [" ".join(each.split()) for each in re.findall(r">([^<>]+)<", navigation)]
    for part in ("Guides", "Concepts", "Reference", "Benchmarks", "Decisions"):
        assert part in titles
    assert (site / "results.html").is_file()


@needs_zensical
def test_pages_are_read_as_github_reads_them(tmp_path, monkeypatch):
    build_site = builder()
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs" / "web", docs / "web")
    (docs / "README.md").write_text(
        "# A & B - c\n\n[here](#a--b---c) (c) a ~b~ +/- :smile:\n\n| x |\n|---|\n| y |\n"
    )
    for name, value in {"ROOT": tmp_path, "DOCS": docs, "WEB": docs / "web"}.items():
        monkeypatch.setattr(build_site, name, value)
    monkeypatch.setattr(build_site, "INDEX", docs / "README.md")
    build_site.build(tmp_path / "work", tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    assert 'id="a--b---c"' in page
    assert "(c) a ~b~ +/- :smile:" in page
    assert "<td>y</td>" in page


def test_dead_links_and_loads_from_elsewhere_are_found(tmp_path):
    (tmp_path / "there.html").write_text('<p id="here">')
    (tmp_path / "page.html").write_text(
        '<a href="there.html#here"> <a href="there.html#gone"> <a href="gone.html"> <a href="#x">'
        '<a href="https://example.org/"> <script src="https://example.org/x.js"></script>'
        '<link rel="stylesheet" href="//example.org/x.css"><img src="gone.png">'
    )
    (tmp_path / "style.css").write_text("@import 'https://example.org/a.css'; p {color: red}")
    assert [each.partition(": ")[2] for each in dead_links(tmp_path)] == [
        *("#x", "gone.html", "gone.png", "there.html#gone"),
    ]
    assert [each.rpartition("/")[2] for each in outside_loads(tmp_path)] == [
        *("x.js", "x.css", "a.css"),
    ]


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path, monkeypatch):
    build_site = builder()
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "README.md").write_text("[there](../LICENSE)\n\n```\n[x](no)\n```\n")
    (tmp_path / "LICENSE").write_text("terms")
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    monkeypatch.setattr(build_site, "DOCS", docs)
    build_site.write_source(tmp_path / "source")
    assert "[there](LICENSE)" in (tmp_path / "source" / "README.md").read_text()
    assert (tmp_path / "source" / "LICENSE").read_text() == "terms"
    (docs / "README.md").write_text("[gone](gone.md)")
    with pytest.raises(SystemExit, match=r"README\.md links to gone\.md"):
        build_site.write_source(tmp_path / "source")
