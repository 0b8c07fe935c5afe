"""`lorapar eval compare` as a user types it."""

import json

import pytest

from lorapar_cli.cli import main
from tests.evaluation.review.finished import sample, write_evaluation


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Returns a function from arguments of `eval compare` to exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name, right in (("a", [True, True, False]), ("b", [False, True, True])):
        samples = [
            sample(f"q{n}", v, system="system1", completion=f"{name} {n}\ud800")
            for n, v in enumerate(right)
        ]
        write_evaluation(tmp_path / name / "eval" / "heldout", samples)
    write_evaluation(tmp_path / "b" / "eval" / "other", [sample("q0", True)])

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main.main(["eval", "compare", *arguments])
        return ended.value.code, *capsys.readouterr()

    return call


def test_run_directories_are_compared_by_their_common_evaluation(run):
    code, out, _ = run("a", "b")
    assert code == 0
    assert "66.7" in out
    assert "+0.0 [" in out
    assert "System 1" in out
    assert "base: 1 right only in the first: q0" in out
    assert "base: 1 right only in the second: q2" in out
    assert max(map(len, out.splitlines())) <= 80


def test_changed_records_are_shown_with_both_completions(run):
    _, out, _ = run("a", "b/eval/heldout", "--show", "1")
    assert "a 0\\ud800" in out
    assert "b 0\\ud800" in out
    assert "a 2" not in out


def test_json(run):
    _, out, _ = run("a", "b", "--json", "--show", "9")
    found = json.loads(out)
    (pair,) = found["pairs"]
    assert (pair["only_first_ids"], pair["only_second_ids"]) == (["q0"], ["q2"])
    assert [each["second"]["id"] for each in found["changed"][0]] == ["q0", "q2"]


def test_what_cannot_be_compared_says_what_could(run):
    code, _, err = run("a/eval/heldout", "b/eval/other")
    assert code == 1
    assert "1 item could be paired; 2 are only in the first" in err
    assert run("a/eval/heldout", "b/eval/other", "--anyway")[0] == 0
    code, _, err = run("b", "b")
    assert code == 2
    assert "`b` has 2 evaluations" in err
    assert run("a", "b", "--against", "sft")[0] == 2


def test_what_both_have_forgotten_stands_beside(run, tmp_path):
    _, out, _ = run("a", "b")
    assert "forgetting" not in out
    measured = {"loss": {"system1": 0.5}, "kl": {"system1": 0.125}, "neutral_loss": 3.0}
    write_evaluation(tmp_path / "c" / "eval" / "heldout", [sample("q0", True)], measured)
    _, out, _ = run("c", "c")
    for part in ("first, base", "second, base", "0.5000", "0.1250", "3.0000"):
        assert part in out
    _, out, _ = run("c", "c", "--json")
    assert json.loads(out)["forgetting"] == [{"base": measured}] * 2
