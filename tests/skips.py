"""The marker `extra`, and skips that nobody has allowed: they fail.

`allowed_skips.toml` lists the skips that may happen, with their reasons. A test that is skipped for
any other reason fails, so that a package that is missing, or a condition that is never met, cannot
pass for success. With `--with-extras`, as `make test-all` gives it, the extras must be installed.
"""

import importlib.util
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.toml")


def pytest_addoption(parser):
    parser.addoption(
        "--with-extras", action="store_true", help="no test may be skipped for want of an extra"
    )


def is_missing(module: str) -> bool:
    """Returns whether a module is not installed; a folder without code is no module."""
    spec = importlib.util.find_spec(module)
    return spec is None or spec.origin is None


def pytest_collection_modifyitems(items):
    """Skips tests marked `extra("module", ...)` if a module is missing, and says which."""
    for item in items:
        for marker in item.iter_markers("extra"):
            for module in filter(is_missing, marker.args):
                reason = f"needs `{module}`, which is not installed"
                item.add_marker(pytest.mark.skip(reason=reason))


def refusal(node: str, reason: str, allowed: list[dict], with_extras: bool) -> str | None:
    """Returns why a skip is a failure, None where an entry allows it.

    Args:
        node: The test's id, or the path of a file that was skipped as a whole.
    """
    for entry in allowed:
        wanted = with_extras and entry.get("extra", False)
        fits = fnmatchcase(node, entry["tests"]) and re.fullmatch(entry["reason"], reason)
        if fits and not wanted:
            return None
    extras = ", and with `--with-extras` none is for want of an extra" if with_extras else ""
    return f"skipped: {reason}\nNo entry of tests/{ALLOWED.name} allows this skip{extras}."


def _fail_if_refused(report, config) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    allowed = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["skip"]
    if why := refusal(report.nodeid, reason, allowed, config.getoption("--with-extras")):
        report.outcome, report.longrepr = "failed", why


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    _fail_if_refused(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_if_refused(report, collector.config)
    return report
