"""`lorapar report`: of which runs it is, and where it goes."""

from functools import partial

import pytest

from tests.cli.command_line import printed
from tests.tools.page.pages import write_partitioned_run


@pytest.fixture
def report(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    return partial(printed, capfd, "report")


def test_one_run_directory_gives_the_whole_page_about_it(report, tmp_path):
    run = write_partitioned_run(tmp_path / "mine")
    assert report("mine", "--markdown") == report("--run-dir", "mine", "--markdown")
    report("mine")
    assert "Partition" in (run.root / "report.html").read_text()
    assert not (tmp_path / "comparison.html").exists()
