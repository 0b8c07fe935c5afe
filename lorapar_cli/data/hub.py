"""Data sets that `datasets` reads: those of the hub, and folders that only it understands."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.data.folders import check_files
from lorapar_cli.data.rows import BadRow, Row
from lorapar_cli.data.tables import plain_row
from lorapar_cli.errors import LoraparError
from lorapar_cli.libraries import require_libraries


class LoadedData:
    """A data set that `datasets` loads, and caches on disk.

    Args:
        name: A hub id or a folder.
        subset: Configuration of the data set.
        split: Its split.
        is_saved: Whether it is a folder that `save_to_disk` wrote.
    """

    def __init__(self, name: str, subset: str | None, split: str, is_saved: bool = False) -> None:
        self.name, self.subset, self.split, self.is_saved = name, subset, split, is_saved
        self._loaded: Any = None

    def _load(self) -> Any:
        if self._loaded is None:
            require_libraries(["datasets"], f"reading `{self.name}`")
            import datasets

            datasets.disable_progress_bars()
            try:
                self._loaded = self._load_saved() if self.is_saved else self._load_named()
            except LoraparError:
                raise
            except Exception as cause:
                # The library passes on any exception of its storage back ends.
                if Path(self.name).is_dir():
                    check_files(Path(self.name))
                raise LoraparError(
                    f"cannot load data set `{self.name}`",
                    _reason(cause),
                    "check the id, `--subset` and `--split`, or give a file",
                ) from cause
        return self._loaded

    def _load_named(self) -> Any:
        import datasets

        return datasets.load_dataset(self.name, self.subset, split=self.split)

    def _load_saved(self) -> Any:
        import datasets

        loaded = datasets.load_from_disk(self.name)
        if not isinstance(loaded, dict):
            return loaded
        if self.split not in loaded:
            raise LoraparError(
                f"`{self.name}` has no split `{self.split}`",
                f"splits: {', '.join(loaded)}",
                "name one of them with `--split`",
            )
        return loaded[self.split]

    def rows(self) -> Iterator[tuple[str, Row | BadRow]]:
        """Yields place and row of each row.

        Raises:
            LoraparError: The data set cannot be loaded.
        """
        for number, row in enumerate(self._load(), 1):
            yield f"{self.name}[{self.split}]:row {number}", plain_row(dict(row))

    def describe(self) -> dict[str, str]:
        """Returns the data set's name and a digest of the fingerprint that `datasets` gives it."""
        known = f"{self.name} {self.subset} {self.split} {self._load()._fingerprint}"
        digest = hashlib.sha256(known.encode()).hexdigest()
        return {"path": self.name, "sha256": digest, "source": "hub"}


def _reason(cause: BaseException) -> str:
    """Returns the first line of the error that caused another."""
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def is_saved_folder(folder: Path) -> bool:
    """Returns whether `save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
