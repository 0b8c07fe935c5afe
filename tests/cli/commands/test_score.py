"""`lorapar score` as a command: what it prints, and what it refuses before it loads anything."""

import pytest

from lorapar_cli.cli.main import main


@pytest.fixture
def run(capfd):
    """Runs the command in this process; returns exit code, stdout and stderr."""

    def call(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["score", *map(str, arguments)])
        return ended.value.code, *capfd.readouterr()

    return call


def test_tables_and_words(run, tmp_path, tiny_model_dir, splits):
    arguments = ("--model", tiny_model_dir, "--splits", splits, "--run-dir", tmp_path / "run")
    code, out, err = run(*arguments)
    assert code == 0, err
    for words in ("importance of 7,168 elements", "rank correlation", "logits at step 0 differ"):
        assert words in out
    assert "sampling noise" in err
    assert f"next: `lorapar partition --run-dir {tmp_path / 'run'}`" in err
    assert "up to date" in run(*arguments)[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--model"),
        (("--model", "x", "--init", "gaussian"), "B = 0"),
        (("--model", "x", "--init", "xavier"), "unknown init `xavier`"),
        (("--model", "x", "--init-scale", "0.1"), "applies to init `gaussian`"),
        (("--model", "x", "--formula", "taylor3"), "formula"),
        (("--model", "x", "--samples", "1"), "samples"),
        (("--model", "x", "--target-modules", "a,a"), "names something twice"),
    ],
)
def test_usage_errors_write_nothing(run, tmp_path, splits, arguments, words):
    code, _, err = run("--splits", splits, "--run-dir", tmp_path / "run", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_target_that_matches_nothing_lists_what_there_is(run, tmp_path, tiny_model_dir, splits):
    arguments = ("--model", tiny_model_dir, "--splits", splits, "--target-modules", "c_attn")
    code, _, err = run(*arguments, "--run-dir", tmp_path / "run")
    assert code == 1
    assert "q_proj" in err
    assert not (tmp_path / "run" / "score").exists()
