"""The folder of a confined program: measured while it changes, removed at any depth."""

import os

from lorapar_cli.grading.sandbox.scratch import folder_size, remove_tree, scratch_folder


def test_a_folder_exists_until_its_block_ends():
    with scratch_folder() as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b").write_bytes(b"x")
    assert not folder.exists()


def test_size_counts_every_entry_and_stops_when_it_has_enough(tmp_path):
    assert folder_size(tmp_path, 10**9) == 0
    (tmp_path / "empty").touch()
    assert folder_size(tmp_path, 10**9) == 4096
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(bytes(2**20))
    assert folder_size(tmp_path, 10**9) >= 2**20 + 2 * 4096
    assert folder_size(tmp_path, 100) > 100
    assert folder_size(tmp_path / "gone", 100) == 0


def test_links_are_neither_followed_nor_spared(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "kept").write_bytes(bytes(2**20))
    (folder / "link").symlink_to(outside)
    assert folder_size(folder, 10**9) == 4096
    remove_tree(folder)
    assert not folder.exists()
    assert (outside / "kept").exists()


def test_a_tree_deeper_than_a_path_may_be_long_is_removed(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("name", dir_fd=here)
        below = os.open("name", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert folder_size(top, 10**9) > 10**9
    remove_tree(top)
    assert not top.exists()
