"""Finding finished evaluations and reading their samples."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.review.read import (
    choose_evaluation,
    find_evaluations,
    read_evaluation,
)
from lorapar_cli.names import Artifact
from lorapar_cli.store.manifest import read_manifest, write_manifest
from tests.evaluation.review.finished import sample, write_evaluation


def test_a_run_directory_or_the_folder_of_an_evaluation(tmp_path):
    for name in ("heldout", "gsm8k"):
        write_evaluation(tmp_path / "run" / "eval" / name, [sample(1, True)])
    (tmp_path / "run" / "eval" / "unfinished").mkdir()
    found = find_evaluations(tmp_path / "run")
    assert list(found) == ["gsm8k", "heldout"]
    assert find_evaluations(found["heldout"]) == {"heldout": found["heldout"]}
    with pytest.raises(LoraparError, match="no finished evaluation"):
        find_evaluations(tmp_path)


def test_several_evaluations_need_a_name(tmp_path):
    for name in ("heldout", "gsm8k"):
        write_evaluation(tmp_path / "eval" / name, [sample(1, True)])
    with pytest.raises(UsageError, match="has 2 evaluations"):
        choose_evaluation(tmp_path, None, "NAME")
    with pytest.raises(UsageError, match="did you mean `gsm8k`"):
        choose_evaluation(tmp_path, "gsm8", "NAME")
    assert choose_evaluation(tmp_path, "gsm8k", "NAME").folder == tmp_path / "eval" / "gsm8k"


def test_samples_with_half_a_surrogate_pair_are_read_as_they_were(tmp_path):
    odd = sample("a\x1b[2J", False, completion="\ud83d \u202e\x00")
    folder = write_evaluation(tmp_path / "e", [odd, sample(2, True)])
    assert list(read_evaluation(folder).samples()) == [odd, sample(2, True)]


def test_damage_is_named_with_file_and_line(tmp_path):
    folder = write_evaluation(tmp_path / "e", [sample(1, True)])
    path, manifest = folder / Artifact.SAMPLES, read_manifest(folder)
    for text in ('{"model": "base"}\n', "[1]\n", "{\n"):
        path.write_text(text)
        with pytest.raises(LoraparError, match="is not the file that `eval` wrote"):
            list(read_evaluation(folder).samples())
        write_manifest(folder, manifest)
        with pytest.raises(LoraparError, match=r"samples\.jsonl:1` is not a sample"):
            list(read_evaluation(folder).samples())


def test_a_manifest_of_another_build_is_refused(tmp_path):
    folder = write_evaluation(tmp_path / "e", [sample(1, True)], template=3)
    with pytest.raises(LoraparError, match=r"settings of .* cannot be read"):
        read_evaluation(folder)
