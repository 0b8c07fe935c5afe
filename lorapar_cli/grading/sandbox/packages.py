"""The installed packages that generated programs and their tests may import."""

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from lorapar_cli.errors import UsageError

# What a distribution installs besides modules and their libraries.
_ASIDE = (".dist-info", ".egg-info", ".pth")
_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Packages:
    """Packages with what they need.

    Attributes:
        versions: Name, as the user gives it -> version.
        places: Name of a module -> its folder or file.
        folders: Every folder and file that has a part of them, shared libraries among them.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


def find_packages(names: Iterable[str]) -> Packages:
    """Returns the installed packages of these names, and the packages that they require.

    Args:
        names: Each a distribution's name, as `pip` has it, or a module's.

    Raises:
        UsageError: One of them is not installed, or is not the name of a package.
    """
    providers = metadata.packages_distributions()
    versions: dict[str, str] = {}
    found: dict[str, metadata.Distribution] = {}
    for name in names:
        own = _distributions(name, providers)
        versions[name] = ", ".join(each.version for each in own)
        for each in own:
            _with_required(each, found)
    places: dict[str, str] = {}
    folders: dict[str, None] = {}
    for distribution in found.values():
        for path in _parts(distribution):
            folders[str(path)] = None
            module = path.name.partition(".")[0]
            if module.isidentifier() and not path.name.endswith(".libs"):
                places[module] = str(path)
    return Packages(versions, places, tuple(folders))


def _distributions(name: str, providers: Mapping[str, list[str]]) -> list[metadata.Distribution]:
    if name in sys.stdlib_module_names:
        raise UsageError(
            f"`--code-packages` names `{name}`, which programs can import anyway",
            "it is part of Python",
            "omit it",
        )
    try:
        return [metadata.distribution(name)]
    except (metadata.PackageNotFoundError, ValueError):
        pass
    if name in providers:
        return [metadata.distribution(each) for each in dict.fromkeys(providers[name])]
    raise UsageError(
        f"`--code-packages` names `{name}`, which is not installed",
        f"not among the packages of `{sys.executable}`",
        f"install it there, or omit it: `{Path(sys.executable).name} -m pip install {name}`",
    )


def _with_required(
    distribution: metadata.Distribution, found: dict[str, metadata.Distribution]
) -> None:
    """Adds a distribution, and those that it requires and that are installed."""
    pending = [distribution]
    while pending:
        each = pending.pop()
        name = str(each.metadata["Name"]).lower()
        if name in found:
            continue
        found[name] = each
        for requirement in each.requires or []:
            if "extra ==" in requirement:
                continue
            if (named := _REQUIRED.match(requirement)) is not None:
                try:
                    pending.append(metadata.distribution(named[0]))
                except metadata.PackageNotFoundError:
                    continue  # For another system or version of Python.


def _parts(distribution: metadata.Distribution) -> list[Path]:
    """Returns a distribution's files and folders that lie next to other packages."""
    tops = dict.fromkeys(path.parts[0] for path in distribution.files or [])
    kept = [
        top for top in tops if top not in ("..", "__pycache__") and Path(top).suffix not in _ASIDE
    ]
    if kept:
        return [Path(str(distribution.locate_file(top))).resolve() for top in kept]
    # Without a list of its files, or installed from a checkout: where its module is.
    name = str(distribution.metadata["Name"]).replace("-", "_")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return [(origin.parent if origin.name == "__init__.py" else origin).resolve()]
