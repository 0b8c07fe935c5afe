"""`lorapar report`: of which runs it is, and where it goes."""

import pytest

from lorapar_cli.cli.main import main
from tests.tools.page.pages import write_partitioned_run


@pytest.fixture
def report(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["report", *map(str, arguments)])
        assert ended.value.code == 0
        return capfd.readouterr().out

    return call


def test_one_run_directory_gives_the_whole_page_about_it(report, tmp_path):
    run = write_partitioned_run(tmp_path / "mine")
    assert report("mine", "--markdown") == report("--run-dir", "mine", "--markdown")
    report("mine")
    assert "Partition" in (run.root / "report.html").read_text()
    assert not (tmp_path / "comparison.html").exists()
