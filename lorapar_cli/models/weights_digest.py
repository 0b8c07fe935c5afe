"""Which weights a base model's name stands for on this machine, told without loading them."""

import hashlib
from pathlib import Path

import lorapar_cli
from lorapar_cli.names import EMBEDDED
from lorapar_cli.store.manifest import sha256_file

_WHOLE_FILE_BYTES = 64 * 2**20
_EDGE_BYTES = 2**20


def local_folder(name: str) -> Path | None:
    """Returns the folder of `embedded` or of a folder's name, None for a hub id."""
    if name == EMBEDDED:
        return Path(lorapar_cli.__file__).parent / "embedded" / "model"
    return Path(name) if Path(name).is_dir() else None


def local_revision(name: str) -> str | None:
    """Returns `local:` and a digest of config and weights; None for a hub id or no model."""
    folder = local_folder(name)
    if folder is None or not (folder / "config.json").is_file():
        return None
    return f"local:{_digest(folder)}"


def _digest(folder: Path) -> str:
    """Returns a short digest of config and weights; of large files only size and both ends."""
    digest = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        if size <= _WHOLE_FILE_BYTES:
            digest.update(sha256_file(path).encode())
            continue
        with open(path, "rb") as file:
            digest.update(file.read(_EDGE_BYTES))
            file.seek(-_EDGE_BYTES, 2)
            digest.update(file.read())
    return digest.hexdigest()[:16]
