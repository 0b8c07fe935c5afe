"""A skip that nobody has allowed fails, in a test, in a fixture and of a whole file."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.skips import ALLOWED, is_missing, refusal

ROOT = Path(__file__).parents[1]
ENTRIES = [
    {"tests": "tests/a/*", "reason": "no `bwrap` .*"},
    {"tests": "tests/*", "reason": "needs `x`", "extra": True},
]


@pytest.mark.parametrize(
    ("node", "reason", "with_extras", "allowed"),
    [
        ("tests/a/test_b.py::test_c[1]", "no `bwrap` here", False, True),
        ("tests/a/test_b.py::test_c[1]", "no `bwrap` here", True, True),
        ("tests/b/test_b.py::test_c", "no `bwrap` here", False, False),
        ("tests/a/test_b.py", "so no `bwrap` here", False, False),
        ("tests/test_b.py", "needs `x`", False, True),
        ("tests/test_b.py", "needs `x`", True, False),
        ("tests/test_b.py", "needs `x` and more", False, False),
    ],
)
def test_an_entry_allows_a_reason_of_some_tests(node, reason, with_extras, allowed):
    found = refusal(node, reason, ENTRIES, with_extras)
    assert (found is None) is allowed
    assert found is None or reason in found


def test_the_list_can_be_read_and_says_why():
    for entry in tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["skip"]:
        assert set(entry) <= {"tests", "reason", "because", "extra"}
        assert entry["because"]
        re.compile(entry["reason"])


def run_pytest(folder, *arguments):
    """Runs the tests of a folder with the plugin alone; returns exit status and output."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:cacheprovider"),
            *("--rootdir", str(folder), "-c", "/dev/null", str(folder / "tests"), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def test_it():\n    pytest.skip('by mistake')\n", "skipped: by mistake"),
        (
            "@pytest.fixture\ndef part():\n    pytest.skip('by mistake')\n"
            "def test_it(part):\n    pass\n",
            "skipped: by mistake",
        ),
        ("pytest.importorskip('no_such_module')\n", "could not import 'no_such_module'"),
        ("@pytest.mark.extra('no_such_module')\ndef test_it():\n    pass\n", "`no_such_module`"),
    ],
)
def test_an_accidental_skip_fails(tmp_path, text, said):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(f"import pytest\n{text}")
    status, output = run_pytest(tmp_path)
    assert status != 0
    assert said in output
    assert "No entry of tests/allowed_skips.toml" in output


@pytest.mark.parametrize("missing", [True, False])
def test_an_extra_may_be_there_or_not(tmp_path, missing):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        "import json, sys\nimport pytest\n"
        f"sys.modules['schedulefree'] = None if {missing} else sys.modules['json']\n"
        "@pytest.mark.extra('schedulefree')\ndef test_it():\n    pass\n"
        "@pytest.mark.xfail\ndef test_that_fails():\n    assert False\n"
    )
    status, output = run_pytest(tmp_path)
    assert status == 0
    assert ("1 skipped, 1 xfailed" if missing else "1 passed, 1 xfailed") in output
    status, output = run_pytest(tmp_path, "--with-extras")
    assert (status != 0) is missing


def test_a_folder_is_no_module(tmp_path, monkeypatch):
    (tmp_path / "runs_of_a_tracker").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert is_missing("runs_of_a_tracker")
