"""`lorapar eval show` as a user types it."""

import json

import pytest

from lorapar_cli.cli import main
from tests.evaluation.review.finished import sample, write_evaluation


@pytest.fixture
def run(tmp_path, capsys):
    """Returns a function from arguments of `eval show` to exit code, stdout and stderr."""
    samples = [
        sample(1, True),
        sample(2, False, completion="one\n\x1b[31mtwo\ud83d", prompt="Why " + "long " * 400 + "?"),
        sample(3, False, extracted=None, reference_answers=["1", "one"]),
    ]
    write_evaluation(tmp_path / "eval" / "heldout", samples)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main.main(["eval", "show", "--run-dir", str(tmp_path), *arguments])
        return ended.value.code, *capsys.readouterr()

    return call


def test_wrong_ones_are_shown_for_a_person(run):
    code, out, _ = run("--wrong", "2")
    assert code == 0
    assert "== 2 (model base, draw 0): wrong ==" in out
    assert "characters left out" in out
    assert "    \\x1b[31mtwo\\ud83d" in out
    assert "reference:  1 | one" in out
    assert "extracted:  (nothing)" in out
    assert "why:        no answer was found" in out
    assert "== 1 (" not in out


def test_without_numbers_five_wrong_ones_and_by_id_all(run):
    assert run()[1].count(": wrong ==") == 2
    assert ": right ==" in run("--id", "1")[1]
    assert "characters left out" not in run("--id", "2", "--full")[1]


def test_json_has_the_samples_as_they_are(run):
    _, out, _ = run("heldout", "--right", "1", "--json")
    (shown,) = json.loads(out)["samples"]
    assert shown == sample(1, True) | {"why": "the extracted answer is an accepted one"}


def test_a_name_goes_before_a_folder_of_data_and_a_folder_may_be_given(run, tmp_path, monkeypatch):
    (tmp_path / "here" / "heldout").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert run("heldout", "--id", "1")[0] == 0
    assert run("../eval/heldout", "--id", "1")[0] == 0


def test_nothing_to_show_is_said(run):
    _, out, err = run("--id", "1", "--wrong", "1")
    assert out == ""
    assert "no such completion" in err


def test_unknown_names_are_usage_errors(run):
    code, _, err = run("held")
    assert code == 2
    assert "did you mean `heldout`" in err
