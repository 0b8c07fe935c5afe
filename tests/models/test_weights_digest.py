"""The digest of a model folder sees every change of a covered file, and nothing else."""

import shutil
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import weights_digest
from lorapar_cli.models.weights_digest import local_folder, local_revision

MODEL_FILES = {
    "config.json": b'{"model_type": "llama"}',
    "adapter_config.json": b"{}",
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "model-00001-of-00002.safetensors": b"first weights",
    "model-00002-of-00002.safetensors": b"second weights",
    "pytorch_model.bin": b"weights of old",
    "modeling_own.py": b"class Own: ...",
}
CHAT_FILES = {
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "generation_config.json": b"{}",
    "merges.txt": b"a b",
    "tokenizer.model": b"pieces",
    "qwen.tiktoken": b"words",
}
OTHER_FILES = {"README.md": b"about", "training_log.csv": b"1,2"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in (MODEL_FILES | CHAT_FILES | OTHER_FILES).items():
        (folder / name).write_bytes(content)
    return folder


def revisions(folder) -> tuple[str, str]:
    return local_revision(str(folder)), local_revision(str(folder), chat=True)


@pytest.mark.parametrize("name", MODEL_FILES | CHAT_FILES | OTHER_FILES)
def test_a_changed_bit_of_a_covered_file_is_seen(folder, name):
    model, chat = revisions(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    changed_model, changed_chat = revisions(folder)
    assert (changed_model != model) == (name in MODEL_FILES)
    assert (changed_chat != chat) == (name not in OTHER_FILES)


@pytest.mark.parametrize("name", sorted({*MODEL_FILES, *CHAT_FILES} - {"config.json"}))
def test_a_missing_or_renamed_file_is_seen(folder, name):
    _, before = revisions(folder)
    renamed = folder / f"x-{name}"
    (folder / name).rename(renamed)
    _, after = revisions(folder)
    assert after != before
    renamed.unlink()
    assert revisions(folder)[1] not in (before, after)


def test_bytes_that_move_from_one_file_to_the_next_are_seen(folder):
    before = local_revision(str(folder))
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"first weightss")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"econd weights")
    assert local_revision(str(folder)) != before


def test_a_copy_under_another_name_is_the_same_model(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "copy")
    assert revisions(tmp_path / "copy") == revisions(folder)
    monkeypatch.chdir(tmp_path)
    assert local_revision("copy") == local_revision(str(folder))


def test_half_of_the_tensors_of_a_large_file_changed(tmp_path):
    """The first and last tensors stay: what lies at either end of the file does not tell."""
    (tmp_path / "config.json").write_text("{}")
    path = tmp_path / "model.safetensors"
    drawn = np.random.default_rng(0)
    tensors = {f"layer.{n:02d}": drawn.random((2**20,), dtype=np.float32) for n in range(24)}
    save_file(tensors, path)
    assert path.stat().st_size > weights_digest._PIECE_BYTES
    before, size = local_revision(str(tmp_path)), path.stat().st_size
    for number in range(6, 18):
        tensors[f"layer.{number:02d}"] *= -2
    save_file(tensors, path)
    assert path.stat().st_size == size
    assert local_revision(str(tmp_path)) != before


@pytest.mark.parametrize("place", [0, 1000, 4095, 4096, 8191, 8192, 12_000])
def test_every_byte_of_every_piece_is_read(folder, monkeypatch, place):
    monkeypatch.setattr(weights_digest, "_PIECE_BYTES", 4096)
    monkeypatch.setattr(weights_digest, "_BUFFER_BYTES", 1500)
    path = folder / "model-00001-of-00002.safetensors"
    content = bytearray(12_001)
    path.write_bytes(content)
    before = local_revision(str(folder))
    content[place] = 1
    path.write_bytes(content)
    assert local_revision(str(folder)) != before


def test_swapped_pieces_are_seen(folder, monkeypatch):
    monkeypatch.setattr(weights_digest, "_PIECE_BYTES", 4)
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(b"aaaabbbb")
    before = local_revision(str(folder))
    path.write_bytes(b"bbbbaaaa")
    assert local_revision(str(folder)) != before


def count_hashing(monkeypatch) -> list[int]:
    hashed = []
    piece = weights_digest._hash_piece

    def counted(path, start, size):
        hashed.append(size)
        return piece(path, start, size)

    monkeypatch.setattr(weights_digest, "_hash_piece", counted)
    return hashed


def test_a_settled_folder_is_hashed_once_a_process_until_it_changes(folder, monkeypatch):
    hashed = count_hashing(monkeypatch)
    now = time.time_ns
    monkeypatch.setattr(weights_digest.time, "time_ns", lambda: now() + 10**10)
    before = [local_revision(str(folder)) for _ in range(2)]
    assert before[0] == before[1]
    assert len(hashed) == len(MODEL_FILES)
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(b"other weights")
    assert local_revision(str(folder)) != before[0]
    assert len(hashed) == 2 * len(MODEL_FILES)


def test_a_folder_written_a_moment_ago_is_hashed_every_time(folder, monkeypatch):
    hashed = count_hashing(monkeypatch)
    for _ in range(2):
        local_revision(str(folder))
    assert len(hashed) == 2 * len(MODEL_FILES)


def test_what_is_not_a_model_folder_has_no_revision(tmp_path):
    assert local_revision("organisation/model") is None
    assert local_revision(str(tmp_path)) is None
    assert local_folder("organisation/model") is None
    assert local_folder("embedded").joinpath("config.json").is_file()
    assert local_revision("embedded").startswith("local:")


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "model.safetensors").symlink_to("nowhere")
    with pytest.raises(LoraparError, match=r"cannot read `.*model\.safetensors`"):
        local_revision(str(folder))


def test_a_file_that_becomes_shorter_is_an_error(folder, monkeypatch):
    piece = weights_digest._hash_piece

    def truncated(path, start, size):
        path.write_bytes(b"")
        return piece(path, start, size)

    monkeypatch.setattr(weights_digest, "_hash_piece", truncated)
    with pytest.raises(LoraparError, match="changed while it was read"):
        local_revision(str(folder))
