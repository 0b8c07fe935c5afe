"""Digest of a model folder: whether a name still stands for the same model on this machine.

Every byte is hashed (sha256), so any change of a covered file changes the digest. Hashing runs in
threads at 1 to 2 GB/s per core, and loads the page cache for the model loading that usually
follows: 4 GB of weights took 2.0 s on two cores. Samples of each tensor (4 KiB in every MiB, 0.2 s)
were measured and not used: they miss an edit between two samples, such as one embedding row.

What the digest misses: files in subfolders of the model folder, and code that the folder's own code
imports from elsewhere.
"""

import functools
import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lorapar_cli
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import EMBEDDED

# What decides the function from token ids to logits. transformers loads `*.bin` where there is no
# safetensors file, the adapter that `adapter_config.json` belongs to, and, if trusted, `*.py`.
_MODEL_FILES = (
    *("config.json", "adapter_config.json", "*.index.json"),
    *("*.safetensors", "*.bin", "*.py"),
)
# What decides an answer to a chat besides: tokenizer, chat template, generation settings.
_CHAT_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")

_PIECE_BYTES = 64 * 2**20
_BUFFER_BYTES = 2**20
_MAX_THREADS = 16
_SETTLED_SECONDS = 2.0


def local_folder(name: str) -> Path | None:
    """Returns the folder of `embedded` or of a folder's name, None for a hub id."""
    if name == EMBEDDED:
        return Path(lorapar_cli.__file__).parent / "embedded" / "model"
    return Path(name) if Path(name).is_dir() else None


def local_revision(name: str, *, chat: bool = False) -> str | None:
    """Returns `local:` and 16 hex digits for a model folder; None for a hub id or no model.

    Args:
        name: `embedded`, a folder or a hub id.
        chat: Cover the files that answers to chats depend on as well: tokenizer, chat template and
            generation settings. Off, the digest identifies the model as a function of token ids.

    Raises:
        LoraparError: A file cannot be read, or changes while it is read.
    """
    folder = local_folder(name)
    if folder is None or not (folder / "config.json").is_file():
        return None
    patterns = _MODEL_FILES + _CHAT_FILES if chat else _MODEL_FILES
    return f"local:{_digest(folder, patterns)}"


@dataclass(frozen=True)
class _FileState:
    """A file as its metadata describes it: equal states have equal content once settled."""

    path: Path
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def _digest(folder: Path, patterns: Iterable[str]) -> str:
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    try:
        files = tuple(_read_state(path) for path in paths)
        # Timestamps are coarse: a file that was just written could change again under the same one.
        newest = max(max(file.modified_ns, file.changed_ns) for file in files)
        settled = time.time_ns() - newest > _SETTLED_SECONDS * 1e9
        return _hash_once(files) if settled else _hash_files(files)
    except OSError as cause:
        raise LoraparError(f"cannot read `{cause.filename or folder}`", cause.strerror) from cause


def _read_state(path: Path) -> _FileState:
    found = path.stat()
    return _FileState(
        path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def _hash_files(files: tuple[_FileState, ...]) -> str:
    """Returns a hex digest over names, sizes and the sha256 of every piece of 64 MiB."""
    pieces = [
        (file.path, start, min(_PIECE_BYTES, file.size - start))
        for file in files
        for start in range(0, file.size, _PIECE_BYTES)
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path.name} {file.size}\n".encode())
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
        for hashed in threads.map(lambda piece: _hash_piece(*piece), pieces):
            digest.update(hashed)
    return digest.hexdigest()[:16]


# The stages of `lorapar run` share one process, and each asks for the revision.
_hash_once = functools.cache(_hash_files)


def _hash_piece(path: Path, start: int, size: int) -> bytes:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(size, _BUFFER_BYTES)))
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while size:
            count = file.readinto(buffer[: min(size, _BUFFER_BYTES)])
            if not count:
                raise LoraparError(f"`{path}` changed while it was read", "it became shorter")
            digest.update(buffer[:count])
            size -= count
    return digest.digest()
