"""Versions of the libraries that lorapar stands on, compared with what it requires of them.

A command asks for those that it is about to use, before it imports them: a trainer of another version
fails late, or trains otherwise. Standard library only, until something is compared.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorapar_cli.errors import LoraparError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MODELS = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers")
"""What loading and running a model takes."""
TRAINING = (*MODELS, "trl", "datasets")
"""What training takes."""

_MODULES = {"pyyaml": "yaml", "lm-eval": "lm_eval", "math-verify": "math_verify"}
"""Modules that are not called as their library."""


@dataclass(frozen=True)
class Library:
    """A library that lorapar requires.

    Attributes:
        required: As written in the package's metadata: `trl<1.17,>=1.16`.
        extra: The extra that it belongs to, None where lorapar cannot do without it.
        installed: Its version; None where it is not installed.
        fits: Whether that version is allowed; a version that cannot be read is not judged.
    """

    name: str
    required: "Requirement"
    extra: str | None
    installed: str | None
    fits: bool

    def __str__(self) -> str:
        """Returns what is there and what is required, in words."""
        if self.installed is None:
            return f"{self.name} is not installed, {self.name}{self.required.specifier} is required"
        return f"{self.name} {self.installed} is installed, {self.required.specifier} is required"


def read_libraries(names: Iterable[str] | None = None) -> Iterator[Library]:
    """Yields what the installed lorapar requires, its own libraries and those of extras but `dev`.

    None where lorapar runs from its files alone, without metadata that says what it requires.

    Args:
        names: Which to look at; None for all.
    """
    from importlib import metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = None if names is None else {canonicalize_name(name) for name in names}
    try:
        own = metadata.distribution("lorapar")
    except metadata.PackageNotFoundError:
        return
    extras = own.metadata.get_all("Provides-Extra") or []
    for line in own.requires or []:
        required = Requirement(line)
        if wanted is not None and canonicalize_name(required.name) not in wanted:
            continue
        if required.marker is None or required.marker.evaluate({"extra": ""}):
            yield _look(required, None)
            continue
        for extra in extras:
            if extra != "dev" and required.marker.evaluate({"extra": extra}):
                yield _look(required, extra)


def _look(required: "Requirement", extra: str | None) -> Library:
    from importlib import metadata

    from packaging.version import InvalidVersion, Version

    try:
        installed = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return Library(required.name, required, extra, None, False)
    try:
        version = Version(installed)
    except (InvalidVersion, TypeError):
        # Built by hand, without a version or with one of its own: nothing can be compared.
        return Library(required.name, required, extra, str(installed), True)
    fits = required.specifier.contains(version, prereleases=True)
    return Library(required.name, required, extra, installed, fits)


def require_libraries(names: Iterable[str], user: str) -> None:
    """Checks that libraries have versions that lorapar knows; imports none of them.

    Args:
        names: What is about to be imported.
        user: What needs them, in words: "`lorapar score`".

    Raises:
        LoraparError: One of lorapar's own is missing, or any is too old or too new; names all.
    """
    if wrong := _wrong(names):
        raise _refusal(f"{user} cannot work with the installed libraries", wrong, [])


def explain_import(error: ImportError) -> LoraparError | None:
    """Returns the expected error behind an import that failed; None where it is lorapar's own.

    A command asks for what it trains or loads models with; this is about all else: a library that
    is too old, too new or missing, and one that is there and cannot be imported.
    """
    if (error.name or "").partition(".")[0] == "lorapar_cli":
        return None
    if wrong := _wrong(None):
        return _refusal("a library cannot be imported", wrong, [str(error)])
    if (broken := _find_broken(error)) is None:
        return None
    reasons = [str(error), *([str(error.__cause__)] if error.__cause__ else [])]
    return LoraparError(
        f"`{broken.name}` {broken.installed} does not find what it imports",
        "\n".join(reasons),
        "install what is missing, or the library again: "
        f"`pip install --force-reinstall '{broken.name}=={broken.installed}'`",
    )


def _find_broken(error: ImportError) -> Library | None:
    """Returns the library whose files are missing or which failed in an import of its own.

    None where lorapar asked a library for what it does not have: that is a bug of lorapar.
    """
    place, asked_by = error.__traceback__, ""
    while place is not None:
        name = str(place.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        asked_by = asked_by if name in ("importlib", "") else name
        place = place.tb_next
    is_gone = isinstance(error, ModuleNotFoundError) and "." not in (error.name or ".")
    for each in read_libraries():
        module = _MODULES.get(each.name.lower(), each.name)
        if each.installed and (asked_by == module or (is_gone and error.name == module)):
            return each
    return None


def _wrong(names: Iterable[str] | None) -> list[Library]:
    """Returns the libraries that are too old, too new, or missing without being of an extra."""
    return [
        library
        for library in read_libraries(names)
        if not library.fits and (library.installed is not None or library.extra is None)
    ]


def _refusal(what: str, wrong: list[Library], found: list[str]) -> LoraparError:
    asked = " ".join(f"'{each.name}{each.required.specifier}'" for each in wrong)
    return LoraparError(
        what,
        "\n".join([*found, *map(str, wrong)]),
        f"`pip install {asked}`, or install lorapar again with `-c constraints.txt`, which names "
        "the tested versions; `lorapar doctor` looks at all of them",
    )
