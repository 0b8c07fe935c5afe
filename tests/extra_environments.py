"""An environment for each extra, made from the wheel and the pins as a user makes it: `pip check` in each.

    python -m tests.extra_environments [EXTRA ...] [--keep FOLDER]

Takes about 20 GB, a quarter of an hour and the package index. What all extras share, torch among it, is
installed once; each environment sees it and has its extra on top. vLLM takes versions of its own, of
torch and of what the pins name: its environment has nothing below it and no pins.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.test_wheel import ROOT, build_wheel, copy_tracked

ALONE = {"vllm"}


def known_extras() -> list[str]:
    """Returns the extras of pyproject.toml but `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name != "dev"]


def pip(environment: Path, *arguments: str) -> tuple[int, str]:
    """Returns exit code and output of a call of an environment's pip."""
    command = [str(environment / "bin" / "python"), "-m", "pip", *arguments]
    done = subprocess.run(
        [*command, "--disable-pip-version-check"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout.strip()


def site_packages(environment: Path) -> Path:
    (folder,) = (environment / "lib").glob("python*/site-packages")
    return folder


def make_environment(place: Path, below: Path | None = None) -> Path:
    """Returns a new environment that sees the packages of the one below it."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    if below is not None:
        seen = f"import site; site.addsitedir({str(site_packages(below))!r})\n"
        (site_packages(place) / "below.pth").write_text(seen)
    return place


def install_and_check(environment: Path, wheel: str, *, pinned: bool = True) -> str | None:
    """Installs the wheel; returns what is wrong then, None if nothing is."""
    pins = ["--constraint", str(ROOT / "constraints.txt")] if pinned else []
    for arguments in (["install", "--quiet", *pins, wheel], ["check"]):
        code, output = pip(environment, *arguments)
        if code:
            return output
    return None


def check(extras: Sequence[str], folder: Path) -> int:
    """Prints a line for each extra; returns the number of those that are not in order."""
    folder.mkdir(parents=True, exist_ok=True)
    base = make_environment(folder / "base")
    # Of a copy: built in place, a wheel may hold files of earlier builds.
    copy_tracked(folder / "source")
    wheel = build_wheel(folder / "source", folder)
    found = {"without extras": install_and_check(base, str(wheel))}
    _say("without extras", found["without extras"])
    for extra in extras:
        alone = extra in ALONE
        place = make_environment(folder / extra, None if alone else base)
        wanted = f"lorapar[{extra}] @ {wheel.as_uri()}"
        found[extra] = install_and_check(place, wanted, pinned=not alone)
        _say(extra, found[extra])
    return sum(wrong is not None for wrong in found.values())


def _say(name: str, wrong: str | None) -> None:
    print(f"{name}: {wrong or 'pip check is clean'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.extra_environments")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="Default: all.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="Where environments stay.")
    chosen = parser.parse_args()
    known = known_extras()
    if unknown := sorted(set(chosen.extras) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}; extras: {', '.join(known)}")
    if chosen.keep is not None:
        sys.exit(min(check(chosen.extras or known, chosen.keep), 1))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(min(check(chosen.extras or known, Path(folder)), 1))


if __name__ == "__main__":
    main()
