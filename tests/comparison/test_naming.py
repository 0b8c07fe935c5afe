"""Folders that are found by what they depend on."""

import json

import pytest

from lorapar_cli.comparison.naming import digest_of, find_folder, write_dependencies
from lorapar_cli.errors import LoraparError


def filled(recorded):
    """Fills in an option that is newer than some folders, and leaves out who wrote it."""
    settings = {"new": 1} | recorded["settings"]
    return recorded | {"settings": settings, "lorapar": None}


OLD = {"lorapar": "0.1", "settings": {"rate": 0.5}}
NEW = {"lorapar": "0.2", "settings": {"rate": 0.5, "new": 1}}


@pytest.fixture
def old(tmp_path):
    """A folder of an earlier version."""
    folder = find_folder(tmp_path / "cells", OLD, filled)
    folder.mkdir(parents=True)
    write_dependencies(folder, OLD)
    return folder


def test_a_folder_is_named_by_all_that_it_depends_on(old):
    assert old.name == digest_of(OLD)
    assert json.loads((old.parent / f"{old.name}.json").read_text()) == OLD


@pytest.mark.parametrize("change", [{}, {"new": 2}, {"rate": 0.25}])
def test_it_is_found_again_by_equal_values_only(old, change):
    wanted = NEW | {"settings": NEW["settings"] | change}
    found = find_folder(old.parent, wanted, filled)
    assert found == (old.parent / digest_of(wanted) if change else old)


def test_a_file_without_its_folder_is_nothing(old):
    old.rmdir()
    assert find_folder(old.parent, NEW, filled).name == digest_of(NEW)


def test_what_is_written_once_stays(old):
    write_dependencies(old, NEW)
    assert json.loads((old.parent / f"{old.name}.json").read_text()) == OLD


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"settings": 1}', "[[1, 2]]"])
def test_a_damaged_file_is_named(old, text):
    (old.parent / f"{old.name}.json").write_text(text)
    with pytest.raises(LoraparError, match=old.name):
        find_folder(old.parent, NEW, filled)
