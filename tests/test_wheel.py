"""The wheel: what is in it, its size, and that it runs where no checkout is."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import lorapar_cli

ROOT = Path(lorapar_cli.__file__).parents[1]
MAX_BYTES = 8 * 10**6


def tracked(root=ROOT) -> set[str]:
    """Returns the files that git tracks or would track; in a source distribution, what it lists."""
    sources = root / "lorapar.egg-info" / "SOURCES.txt"
    if (root / "PKG-INFO").exists():
        names = set(sources.read_text(encoding="utf-8").splitlines())
        return {name for name in names if ".egg-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return {n for n in listed.stdout.decode().split("\0") if n and (root / n).is_file()}


def copy_tracked(source) -> set[str]:
    """Copies these files; returns their names."""
    names = tracked()
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    return names


def build_wheel(source, folder) -> Path:
    # Dependencies are those of this environment, so that no registry is asked.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the files that git tracks or would track."""
    source = tmp_path_factory.mktemp("source")
    copy_tracked(source)
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The names of all tracked files, and the source distribution made of them, unpacked."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    names = copy_tracked(source)
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return names, folder / path.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's files, and how to run `lorapar` from it alone."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)

    def run(here, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "lorapar_cli", *arguments],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )

    return folder, run


def test_the_wheel_is_small_and_has_every_file_of_the_package(wheel):
    assert wheel.stat().st_size < MAX_BYTES
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("lorapar_cli/")}
    assert {name for name in tracked() if name.startswith("lorapar_cli/")} - packed == set()
    assert not any("test" in Path(name).parts for name in packed)


def test_the_package_runs_outside_the_checkout(installed, tmp_path):
    folder, run = installed
    where = subprocess.run(
        [sys.executable, "-c", "import lorapar_cli; print(lorapar_cli.__file__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(folder)
    shown = run(tmp_path, "--version", "--json")
    assert json.loads(shown.stdout)["lorapar"] == lorapar_cli.__version__
    row = {"question": "What is 2 plus 3?", "answer": "#### 5"}
    (tmp_path / "data.jsonl").write_text(f"{json.dumps(row)}\n")
    done = run(
        tmp_path, "classify", "data.jsonl", "--teachers", "rules-cues", "--model", "embedded"
    )
    assert done.returncode == 0, done.stderr


def test_the_source_distribution_is_the_repository(unpacked):
    names, folder = unpacked
    for name in names:
        assert (folder / name).is_file(), f"{name} is not in the sdist: see MANIFEST.in"
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()


def test_without_git_the_source_distribution_knows_its_files(unpacked):
    names, folder = unpacked
    assert names <= tracked(folder)


def test_a_wheel_of_the_source_distribution_is_the_wheel(unpacked, wheel, tmp_path):
    _, folder = unpacked
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(build_wheel(folder, tmp_path)) as second:
        ours = {
            each.filename: each.CRC for each in first.infolist() if "RECORD" not in each.filename
        }
        theirs = {each.filename: each.CRC for each in second.infolist()}
    assert ours.items() <= theirs.items()


def test_tests_of_the_source_distribution_can_be_run(unpacked):
    _, folder = unpacked
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/elements/test_rules.py",
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(installed, tmp_path):
    _, run = installed
    done = run(tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lorapar-demo" / "eval" / "test" / "results.json").is_file()
