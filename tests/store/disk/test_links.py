"""Links in place of folders."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.links import real_folder


def test_folders_stand_for_themselves_and_links_for_what_they_lead_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "twice").symlink_to(tmp_path / "link")
    assert real_folder(tmp_path / "real") == tmp_path / "real"
    assert real_folder(tmp_path / "new" / "er") == tmp_path / "new" / "er"
    for name in ("link", "twice"):
        assert real_folder(tmp_path / name) == (tmp_path / "real").resolve()
    # A folder inside a linked one keeps the name that the user gave it.
    assert real_folder(tmp_path / "link" / "score") == tmp_path / "link" / "score"


@pytest.mark.parametrize("target", ["nowhere", "loop", "file/below"])
def test_links_in_vain_are_refused(tmp_path, target):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(LoraparError, match="leads nowhere") as caught:
        real_folder(tmp_path / "loop")
    assert target in caught.value.found


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with pytest.raises(LoraparError, match="is not a folder"):
            real_folder(tmp_path / name)
