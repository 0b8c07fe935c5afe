"""Packages that programs may import: found where they are installed, or refused before any work."""

from pathlib import Path

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.grading.sandbox.packages import Packages, find_packages


def test_a_package_is_found_by_its_name_and_by_its_modules():
    import yaml

    by_distribution, by_module = find_packages(["pyyaml"]), find_packages(["yaml"])
    assert by_distribution.places == by_module.places
    assert Path(by_module.places["yaml"]) == Path(yaml.__file__).resolve().parent
    assert by_module.versions == {"yaml": yaml.__version__}
    assert by_module.places["yaml"] in by_module.folders


def test_what_a_package_requires_comes_with_it():
    found = find_packages(["jinja2"])
    assert {"jinja2", "markupsafe"} <= set(found.places)
    assert "yaml" not in found.places


def test_nothing_is_found_for_no_names():
    assert find_packages([]) == Packages()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-such-package-here", "not installed"),
        ("math", "can import anyway"),
        ("a/b", "not installed"),
    ],
)
def test_other_names_are_refused(name, words):
    with pytest.raises(UsageError, match=words):
        find_packages([name])
