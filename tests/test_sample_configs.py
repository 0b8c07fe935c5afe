"""Every configuration of sample_configs on the embedded model, with data of the formats that it names.

The first three stages run, on a few records; both training stages go to their first step
(`--dry-run`), and `eval` answers one question. Only the model, the number of samples and what needs
a GPU are swapped.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from lorapar_cli.cli import main
from lorapar_cli.cli.config import plan_steps, read_config
from lorapar_cli.names import EMBEDDED, Stage

SAMPLES = Path(__file__).parents[1] / "sample_configs"
RUNS = sorted(path for path in SAMPLES.glob("*.yaml") if not path.name.startswith("accelerate-"))
SCRIPTS = sorted(SAMPLES.glob("*.sh"))
QUANTISED = "gsm8k-llama2-7b-qlora-24gb.yaml"


def program(number: int) -> dict:
    return {
        "task_id": f"t/{number}",
        "prompt": f"def plus(a):\n    '''Return a plus {number}.'''\n",
        "canonical_solution": f"    return a + {number}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
        "entry_point": "plus",
    }


def question(n: int) -> tuple[str, str, str]:
    """Returns a question, how it is worked out, and the answer; every second has several steps."""
    if n % 2:
        return f"How much is {n} plus 2?", "", str(n + 2)
    return (
        f"Tom has {n} apples, buys 2 bags of 3 apples each and then gives half of all his apples to "
        "Ann. How many apples does he have left in total?",
        f"2 bags of 3 are 2*3=<<2*3=6>>6 apples.\nTogether {n}+6=<<{n}+6={n + 6}>>{n + 6}.\n"
        f"Half of them is {n + 6}/2=<<{n + 6}/2={(n + 6) // 2}>>{(n + 6) // 2}.\n",
        str((n + 6) // 2),
    )


def dolly(n: int) -> dict:
    asked, steps, answer = question(n)
    fields = {"instruction": asked, "context": "", "response": steps + answer}
    return fields | {"category": "open_qa"}


def platypus(n: int) -> dict:
    asked, steps, answer = question(n)
    output = rf"{steps}The answer is $\boxed{{{answer}}}$."
    return {"input": "", "output": output, "instruction": asked, "data_source": "MATH/PRM-800K"}


def code_alpaca(n: int) -> dict:
    asked, steps, answer = question(n)
    return {"instruction": asked, "input": "", "output": f"{steps}print({answer})"}


def gsm8k(n: int) -> dict:
    asked, steps, answer = question(n)
    return {"question": asked, "answer": f"{steps}#### {answer}"}


def mmlu(n: int) -> dict:
    return {
        "subject": "anatomy",
        "question": f"How much is {n} plus 1?",
        "choices": [str(n + 1), str(n + 2), str(n + 3), str(n + 4)],
        "answer": 0,
    }


ROWS = {
    "train.jsonl": gsm8k,
    "gsm8k/train.jsonl": gsm8k,
    "gsm8k/test.jsonl": gsm8k,
    "dolly/databricks-dolly-15k.jsonl": dolly,
    "openplatypus/train.jsonl": platypus,
    "codealpaca/code_alpaca_20k.json": code_alpaca,
    "programs/train.jsonl": program,
    "mmlu/auxiliary_train.jsonl": mmlu,
    "mmlu/dev.jsonl": mmlu,
    "mmlu/test.jsonl": mmlu,
    "humaneval/HumanEval.jsonl": program,
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A working folder that holds every data file that a configuration names."""
    for name, row in ROWS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rows = [row(n) for n in range(1, 41)]
        lines = "".join(json.dumps(each) + "\n" for each in rows)
        path.write_text(json.dumps(rows) if path.suffix == ".json" else lines)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def commands():
    main.register()
    return typer.main.get_command(main.app).commands


def shortened(path: Path) -> dict:
    """Returns a configuration with what a test needs to be short, and otherwise as it stands."""
    config = read_config(path)
    config["model"] = EMBEDDED
    config["score"]["samples"] = 4
    for stage in ("train-sft", "train-rl"):
        config[stage] |= {"dry_run": True, "json": True}
    # A dry run of SFT leaves no adapter.
    config["train-rl"]["from"] = "init"
    config["eval"] |= {"limit": 1, "adapter": "base", "max_new_tokens": 4}
    if "num_fewshot" in config["eval"]:
        # Questions with five examples are longer than the model can read.
        config["eval"]["num_fewshot"] = 0
    for stage in ("train-rl", "eval"):
        # Nothing runs: the dry run generates nothing, and the embedded model writes no programs.
        if config[stage].pop("allow_code_execution", False):
            config[stage]["unsafe_code_execution"] = True
    return config


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.name, marks=[pytest.mark.extra("bitsandbytes")] * (path.name == QUANTISED)
        )
        for path in RUNS
    ],
)
def test_configurations_run_on_the_embedded_model(commands, data, path, capsys):
    config = shortened(path)
    (data / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        main.main(["run", "config.yaml", "--dry-run"])
    assert ended.value.code == 0, capsys.readouterr().err
    printed = {}
    for step in plan_steps(config, commands, {}):
        capsys.readouterr()
        step.invoke()
        printed[step.stage] = capsys.readouterr().out
    assert list(printed) == list(Stage)
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        counts = json.loads(printed[stage])["counts"]
        assert counts["trained_records"] > 0
        assert 0 < counts["active"] < counts["elements"]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_configurations_say_why(path):
    """A setting without a reason is copied without a thought."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#")
    assert f"sample_configs/{path.name}" in text
    assert len(re.findall(r"^ *#", text, re.MULTILINE)) >= 6


def commands_of(script: Path, folder: Path, **variables: str) -> list[list[str]]:
    """Returns the commands that a script starts, from stand-ins that write them down."""
    stubs, log = folder / "stubs", folder / "commands.txt"
    stubs.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    kept = f'printf "%s\\n" "$(printf "%q " "${{0##*/}}" "$@")" >> {shlex.quote(str(log))}\n'
    for name in ("torchrun", "accelerate", "python"):
        (stubs / name).write_text(f"#!/usr/bin/env bash\n{kept}")
    (stubs / "srun").write_text('#!/usr/bin/env bash\nSLURM_NODEID=1 exec "$@"\n')
    (stubs / "scontrol").write_text("#!/bin/sh\necho head\necho second\n")
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    environment = {
        "PATH": os.pathsep.join([str(stubs), os.environ["PATH"]]),
        "MODEL": EMBEDDED,
        "DATA": "gsm8k/train.jsonl",
        "TEACHERS": "rules-shape",
        "CONFIGS": str(SAMPLES),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "7",
    }
    subprocess.run(["bash", str(script)], env=environment | variables, cwd=folder, check=True)
    return [shlex.split(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero2", "zero3"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_start_commands_that_exist(commands, data, script, engine):
    started = commands_of(script, data, ENGINE=engine)
    stages = []
    for words in started:
        stage, *arguments = words[words.index("lorapar_cli") + 1 :]
        stages.append(stage)
        # Parses them as the command line does, range checks included.
        commands[stage].make_context(stage, list(arguments))
        if "--config_file" in words:
            config = Path(words[words.index("--config_file") + 1])
            assert config == SAMPLES / f"accelerate-{engine}.yaml"
            assert yaml.safe_load(config.read_text(encoding="utf-8"))["distributed_type"]
    both = ["train-sft", "train-rl"]
    assert stages == (both if "slurm" in script.name else [stage.value for stage in Stage])
    sharded = [words[0] for words in started if words[0] == "accelerate"]
    assert len(sharded) == (0 if engine == "ddp" else 2)


def test_two_nodes_are_told_how_many_they_are(data):
    (first, _) = commands_of(SAMPLES / "train-slurm.sh", data, ENGINE="ddp")
    assert first[first.index("--nnodes") + 1] == "2"
    assert first[first.index("--rdzv_endpoint") + 1] == "head:29500"
    (first, _) = commands_of(SAMPLES / "train-slurm.sh", data, ENGINE="fsdp2")
    assert first[first.index("--machine_rank") + 1] == "1"
    assert first[first.index("--num_processes") + 1] == "16"


def test_vllm_writes_what_grpo_and_eval_need(data):
    started = commands_of(SAMPLES / "train-8gpu-vllm.sh", data)
    words = {each[each.index("lorapar_cli") + 1]: " ".join(each) for each in started}
    assert "--nproc_per_node 8" in words["train-rl"]
    assert "--vllm colocate" in words["train-rl"]
    assert "--nproc_per_node 1" in words["eval"]
    assert "--backend vllm" in words["eval"]
    assert not any("vllm" in words[stage.value] for stage in list(Stage)[:4])


def test_the_table_of_configurations_is_complete():
    table = (SAMPLES / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| \[`([^`]+)`\]\(\1\)", table, re.MULTILINE))
    # The paper's tables are described by their own guide, and run by tests of `sweep`.
    assert named == {path.name for path in SAMPLES.iterdir()} - {"README.md", "paper"}
