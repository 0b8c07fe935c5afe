"""What a person sees who mistypes: one clear message, exit code 1 or 2, nothing written."""

import pytest

from lorapar_cli.cli import main

GOOD = '{"question": "1+1?", "answer": "#### 2"}\n'


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Runs a command line in an empty folder; returns exit code and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.jsonl").write_text(GOOD * 3)
    (tmp_path / "broken.jsonl").write_text(GOOD + "{broken\n")
    (tmp_path / "misspelt.yaml").write_text(
        "model: embedded\nclassify: {data: ok.jsonl, teachers: rules-cues}\npartition: {thta: 1}\n"
    )
    (tmp_path / "nomodel.yaml").write_text("classify: {data: ok.jsonl, teachers: rules-cues}\n")
    (tmp_path / "three.yaml").write_text(
        "model: embedded\nclassify: {data: ok.jsonl, teachers: rules-cues}\ntrain_sft: 3\n"
    )
    (tmp_path / "zero.yaml").write_text(
        "model: embedded\nclassify: {data: ok.jsonl, teachers: rules-cues}\nscore: {init: default}\n"
    )
    before = {path.name for path in tmp_path.iterdir()}

    def run(line: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as done:
            main.main(line.split())
        assert {path.name for path in tmp_path.iterdir()} == before, "something was written"
        return done.value.code, capfd.readouterr().err

    return run


CASES = [
    ("score", 2, ["no base model", "--model"]),
    ("score --model ./nope", 1, ["`lorapar-run/classify` does not exist", "lorapar classify"]),
    ("classify nope.jsonl --teachers rules-cues", 1, ["no such data file: `nope.jsonl`"]),
    ("classify broken.jsonl --teachers rules-cues", 1, ["broken.jsonl:2", "--skip-bad"]),
    ("classify ok.jsonl --teachers rules-cuez", 2, ["did you mean `rules-cues`?"]),
    ("classify ok.jsonl --teachers rules-cues --model ./nope", 1, ["no such folder: `./nope`"]),
    ("classify ok.jsonl --teachers rules-cues --holdout 2", 2, ["--holdout"]),
    ("classify", 2, ["data", "lorapar classify --help"]),
    ("partition --theta 0", 2, ["`--theta` must be above 0 and at most 1"]),
    ("partition --theta 1.5", 2, ["--theta"]),
    ("partition --select rando", 2, ["is not one of", "did you mean `random`?"]),
    ("partition --thta 0.9", 2, ["--thta", "--theta"]),
    ("partition --importance ok.jsonl", 1, ["`ok.jsonl` is not a safetensors file"]),
    ("partition --importance nope", 1, ["nope"]),
    ("train-sft", 1, ["no labelled splits", "lorapar classify"]),
    ("train-sft --replay 2", 2, ["--replay"]),
    ("train-sft --replay nan", 2, ["`--replay` is not a finite number"]),
    ("train-rl --learning-rate inf", 2, ["`--learning-rate` is not a finite number"]),
    ("train-rl --num-generations 3", 2, ["groups of 3"]),
    ("train-sft --learning-rate 0", 2, ["`--learning-rate` must be above 0"]),
    ("train-sft --max-steps 0", 2, ["`--max-steps 0` trains nothing"]),
    ("train-sft --report-to wandbb", 2, ["did you mean `wandb`?", "mlflow"]),
    ("train-sft --template nope", 1, ["no labelled splits"]),
    ("train-rl --rewards anser=2", 2, ["did you mean `answer`?"]),
    ("eval", 1, ["nothing to evaluate on", "--data"]),
    ("eval --data nope.jsonl --model embedded", 1, ["no such data file"]),
    ("run misspelt.yaml", 2, ["`partition.thta` is unknown, did you mean `theta`?"]),
    ("run nomodel.yaml", 2, ["names no base model", "`model:`"]),
    ("run three.yaml --overwrite", 2, ["`train-sft` is not a mapping"]),
    ("run zero.yaml", 2, ["the importance of every element is zero", "--init orthogonal"]),
    ("score --seed -1", 2, ["--seed", "0<=x<=4294967295"]),
    ("score --r 2147483648", 2, ["--r", "1<=x<=65536"]),
    ("train-rl --adam-beta2 1", 2, ["`--adam-beta2` must be at least 0 and below 1, not 1"]),
    ("train-sft --learning-rate nan", 2, ["`--learning-rate` is not a finite number"]),
    ("eval --limit 9223372036854775808", 2, ["`--limit` is larger than any number"]),
    ("train-sft --epochs 1e300", 2, ["`--epochs` must be above 0 and at most 10,000"]),
    ("train-rl --num-generations 99999999", 2, ["--num-generations", "2<=x<=1048576"]),
    ("score --model sk-proj-Ab12Cd34Ef56Gh78", 2, ["`--model` has a value that looks like a key"]),
    (
        "train-sft --training hub_token=geheim",
        2,
        ["`--training` has a value that looks like a key"],
    ),
    ("eval --temperature 1e-320", 2, ["`--temperature` must be 0 or at least 0.01"]),
    ("run nope.yaml", 1, ["no such file: `nope.yaml`"]),
    ("status", 1, ["no run directory"]),
    ("nonsense", 2, ["nonsense"]),
]


@pytest.mark.parametrize(("line", "code", "parts"), CASES, ids=[case[0] for case in CASES])
def test_message_code_and_nothing_written(call, line, code, parts):
    found_code, stderr = call(line)
    assert found_code == code
    assert "Traceback" not in stderr
    message = stderr[stderr.index("error: ") :]
    for part in parts:
        assert part in message
    assert not message.splitlines()[0].endswith(".")


def test_interrupt_exits_with_130(call, monkeypatch):
    from lorapar_cli.partition import partition

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(partition, "partition", interrupt)
    assert call("partition") == (130, "interrupted\n")


def test_own_bugs_show_their_traceback(tmp_path, monkeypatch):
    from lorapar_cli.partition import partition

    def bug(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(partition, "partition", bug)
    with pytest.raises(ZeroDivisionError):
        main.main(["partition", "--run-dir", str(tmp_path)])
