"""Folders: which files are a split, what is named when one is broken, and `save_to_disk`."""

import json
import os

import pytest

from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError


def write(path, *numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"{number}?", "answer": f"#### {number}"} for number in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers_of(folder, **options):
    return [r.reference_answer for r in open_source(str(folder), **options).records()]


def test_files_without_a_splits_name_are_all_train(tmp_path):
    write(tmp_path / "b.jsonl", 3)
    write(tmp_path / "a.jsonl", 1, 2)
    write(tmp_path / "deep" / "c.jsonl", 4)
    write(tmp_path / ".hidden" / "d.jsonl", 5)
    (tmp_path / "README.md").write_text("# Data\n")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert answers_of(tmp_path) == ["1", "2", "3", "4"]
    with pytest.raises(LoraparError, match="has no files of split `test`"):
        answers_of(tmp_path, split="test")


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl", "validation.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl", "data/dev.jsonl"),
        ("train/part.jsonl", "test/part.jsonl", "val/part.jsonl"),
        ("my_train_set.jsonl", "my_eval_set.jsonl", "my_valid_set.jsonl"),
    ],
)
def test_names_say_the_split(tmp_path, names):
    for number, name in enumerate(names):
        write(tmp_path / name, number)
    write(tmp_path / "strain.jsonl", 9)
    assert answers_of(tmp_path) == ["0"]
    assert answers_of(tmp_path, split="test") == ["1"]
    assert answers_of(tmp_path, split="validation") == ["2"]


def test_a_broken_file_is_named_with_its_line(tmp_path):
    write(tmp_path / "train-1.jsonl", 1, 2)
    broken = write(tmp_path / "train-2.jsonl", 3)
    broken.write_text(broken.read_text() + '{"question": "4?"\n')
    with pytest.raises(LoraparError) as error:
        answers_of(tmp_path)
    assert error.value.what == f"`{broken}:2` is not a valid record"
    assert answers_of(tmp_path, skip_bad=True) == ["1", "2", "3"]


def test_files_of_several_kinds_are_refused(tmp_path):
    write(tmp_path / "a.jsonl", 1)
    (tmp_path / "b.csv").write_text("question,answer\n1?,1\n")
    with pytest.raises(LoraparError) as error:
        answers_of(tmp_path)
    assert error.value.what == f"`{tmp_path}` has data files of several kinds"
    assert error.value.found == ".csv, .jsonl"


def test_a_pipe_in_a_folder_is_refused(tmp_path):
    write(tmp_path / "a.jsonl", 1)
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(LoraparError, match=r"b.jsonl` is not a file"):
        answers_of(tmp_path)


def test_a_change_of_any_file_changes_the_description(tmp_path):
    write(tmp_path / "a.jsonl", 1)
    write(tmp_path / "b.jsonl", 2)
    before = open_source(str(tmp_path)).describe()
    assert before == open_source(str(tmp_path)).describe()
    assert before["path"] == str(tmp_path)
    write(tmp_path / "b.jsonl", 3)
    changed = open_source(str(tmp_path)).describe()
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    renamed = open_source(str(tmp_path)).describe()
    assert len({before["sha256"], changed["sha256"], renamed["sha256"]}) == 3


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


def test_a_folder_that_its_readme_configures_is_left_to_datasets(tmp_path, datasets):
    folder = tmp_path / "set"
    write(folder / "one.jsonl", 1)
    write(folder / "two.jsonl", 2)
    readme = (
        "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: two.jsonl\n---\n# Set\n"
    )
    (folder / "README.md").write_text(readme)
    assert answers_of(folder) == ["2"]
    # The library names no line, so that the files are looked through.
    broken = write(tmp_path / "other" / "two.jsonl", 2, 3)
    broken.write_text(broken.read_text() + '{"question": "4?"\n')
    (tmp_path / "other" / "README.md").write_text(readme)
    with pytest.raises(LoraparError) as error:
        answers_of(tmp_path / "other")
    assert error.value.what == f"`{broken}:3` is not a valid row"


def test_folders_of_save_to_disk_are_read(tmp_path, datasets):
    rows = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(4)]
    one = datasets.Dataset.from_list(rows)
    one.save_to_disk(str(tmp_path / "one"))
    assert answers_of(tmp_path / "one") == ["0", "1", "2", "3"]
    both = datasets.DatasetDict(train=one, test=one.select([3]))
    both.save_to_disk(str(tmp_path / "both"))
    assert answers_of(tmp_path / "both") == ["0", "1", "2", "3"]
    assert answers_of(tmp_path / "both", split="test") == ["3"]
    with pytest.raises(LoraparError) as error:
        answers_of(tmp_path / "both", split="dev")
    assert error.value.what == f"`{tmp_path / 'both'}` has no split `dev`"
    assert error.value.found == "splits: train, test"
    # Part of it, damaged: an error of ours, whatever the library raises.
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"x")
    with pytest.raises(LoraparError, match="cannot load data set"):
        answers_of(tmp_path / "one")
    assert len(open_source(str(tmp_path / "both")).describe()["sha256"]) == 64


def test_an_empty_folder_is_an_error(tmp_path, datasets):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoraparError, match="cannot load data set"):
        answers_of(tmp_path / "empty")
