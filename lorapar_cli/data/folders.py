"""Which files of a folder are a split of its data set."""

import hashlib
import re
from pathlib import Path

from lorapar_cli.data.files import DataFile, data_file, kind_of_name
from lorapar_cli.data.rows import BadRow
from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.digests import sha256_file

# What file and folder names call a split, as `datasets` reads them.
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_ALL_WORDS = {word for words in _SPLIT_WORDS.values() for word in words}
_ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_CONFIGURED = re.compile(r"\A---\n(?:.*\n)*?(?:configs|data_files):")


def is_configured(folder: Path) -> bool:
    """Returns whether a folder's README says which files belong to which split."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    return _CONFIGURED.search(text.partition("\n---")[0]) is not None


def folder_files(folder: Path, split: str) -> list[DataFile]:
    """Returns the data files of a split, in the order of their paths; empty if there are none.

    Without a split's name in any of their paths, all files are `train`.

    Raises:
        LoraparError: There are files, but none of this split, or they are of several kinds.
    """
    found = {path: _split_words(path.relative_to(folder)) for path in _data_files(folder)}
    wanted = set(_SPLIT_WORDS.get(split, (split.lower(),)))
    named = any(words & _ALL_WORDS for words in found.values())
    chosen = [
        path for path, words in found.items() if words & wanted or (not named and split == "train")
    ]
    if found and not chosen:
        raise LoraparError(
            f"`{folder}` has no files of split `{split}`",
            f"{counted(len(found), 'data file')}, for instance `{next(iter(found)).relative_to(folder)}`",
            "name the split with `--split`, or the files themselves",
        )
    kinds = sorted({kind[0] for path in chosen if (kind := kind_of_name(path.name))})
    if len(kinds) > 1:
        raise LoraparError(
            f"`{folder}` has data files of several kinds",
            ", ".join(kinds),
            "name the files themselves, with a pattern if there are many: `'FOLDER/*.jsonl'`",
        )
    return [data_file(path) for path in chosen]


def check_files(folder: Path) -> None:
    """Reads all data files of a folder, for the place that another reader fails at.

    Raises:
        LoraparError: A file cannot be read; names it and, where it has lines, the line.
    """
    for path in _data_files(folder):
        for place, row in data_file(path).rows():
            if isinstance(row, BadRow):
                raise LoraparError(f"`{place}` is not a valid row", str(row)) from row


def _data_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if kind_of_name(path.name) and not _is_aside(path.relative_to(folder)) and not path.is_dir()
    ]


def _is_aside(path: Path) -> bool:
    return path.name in _ABOUT_DATA or any(part.startswith(".") for part in path.parts)


def _split_words(path: Path) -> set[str]:
    return set(re.split("[^a-z0-9]+", str(path).lower()))


def describe_folder(folder: Path, files: list[DataFile]) -> dict[str, str]:
    """Returns a folder's path and one digest of its files' paths and contents."""
    digest = hashlib.sha256()
    for file in files:
        path = Path(file.name)
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}\n".encode())
    return {"path": str(folder.absolute()), "sha256": digest.hexdigest(), "source": "folder"}
