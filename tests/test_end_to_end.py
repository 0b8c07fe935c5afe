"""The product as a person uses it: the README's lines, one YAML file, real data, the demo."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.embedded.corpus import training_records
from tests.tools.page.pages import outside_references, unknown_anchors

ROOT = Path(__file__).parents[1]
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
# What makes the README's lines short enough for a test; the lines themselves stay as they are.
SHORT = {
    "classify": ["--limit", "120"],
    "score": ["--samples", "20"],
    "train-sft": ["--max-steps", "2"],
    "train-rl": ["--max-steps", "1", "--max-completion-length", "16"],
    "eval": ["--max-new-tokens", "16"],
}
FILES = {
    "classify": ["labels.jsonl", "system1.jsonl", "system2.jsonl", "heldout.jsonl", "votes.jsonl"],
    "score": ["importance.safetensors", "adapter/adapter_model.safetensors"],
    "partition": ["mask.safetensors"],
    "train-sft": ["adapter/adapter_config.json", "metrics.jsonl", "checkpoints"],
    "train-rl": ["adapter/adapter_config.json", "metrics.jsonl", "completions.jsonl"],
    "eval": ["heldout/results.json", "heldout/samples.jsonl", "heldout/manifest.json"],
}


def lorapar(arguments, cwd):
    """Runs the command as a process; returns stdout and stderr together."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    environment.pop("LORAPAR_RUN_DIR", None)
    done = subprocess.run(
        [sys.executable, "-m", "lorapar_cli", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def readme_stages():
    """Returns the README's six lines as argument lists."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Six stages\n\n```\n(.*?)```", text, re.DOTALL)[1]
    lines = [line.split()[1:] for line in block.splitlines()]
    assert [line[0] for line in lines] == list(FILES)
    return [["embedded" if word == "MODEL" else word for word in line] for line in lines]


def write_corpus(path, per_system=60):
    records = training_records(per_system=per_system)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def readme_run(tmp_path_factory):
    """An empty folder in which the README's six lines were typed one after another."""
    folder = tmp_path_factory.mktemp("readme")
    # A folder of that name is not what `--model embedded` means.
    (folder / "embedded").mkdir()
    write_corpus(folder / "data.jsonl")
    outputs = [lorapar(line + SHORT.get(line[0], []), folder) for line in readme_stages()]
    return folder, outputs


def test_readme_lines_work_in_an_empty_folder(readme_run):
    folder, outputs = readme_run
    run = folder / "lorapar-run"
    for stage, files in FILES.items():
        for name in files:
            assert (run / stage / name).exists(), f"{stage}/{name}"
        if stage != "eval":
            manifest = json.loads((run / stage / "manifest.json").read_text())
            assert manifest["stage"] == stage
            assert manifest["ended"]
    assert "next: `lorapar score`" in outputs[0]
    results = json.loads((run / "eval/heldout/results.json").read_text())
    assert [entry["model"] for entry in results["models"]] == ["base", "sft", "rl"]


def test_model_is_remembered_and_splits_are_disjoint(readme_run):
    folder, _ = readme_run
    run = folder / "lorapar-run"
    for stage in ("classify", "score", "train-sft", "train-rl"):
        manifest = json.loads((run / stage / "manifest.json").read_text())
        assert manifest["base_model"]["id"] == "embedded"
    ids = {
        name: {json.loads(line)["id"] for line in (run / "classify" / name).open()}
        for name in FILES["classify"][:4]
    }
    one, two = ids["system1.jsonl"], ids["system2.jsonl"]
    assert one | two == ids["labels.jsonl"]
    assert not one & two
    assert not ids["heldout.jsonl"] & ids["labels.jsonl"]
    assert len(ids["heldout.jsonl"]) == 6


def test_repeated_lines_are_up_to_date(readme_run):
    folder, _ = readme_run
    for line in readme_stages()[1:4]:
        assert "up to date" in lorapar(line + SHORT.get(line[0], []), folder)


def test_report_says_what_the_manifests_say(readme_run):
    folder, _ = readme_run
    run = folder / "lorapar-run"
    (run / "train-sft.png").write_bytes(b"drawn earlier")
    assert lorapar(["report", "--out", "notes/report.md"], folder).startswith("written: ")
    page = (folder / "notes" / "report.md").read_text()
    (run / "train-sft.png").unlink()
    results = json.loads((run / "eval/heldout/results.json").read_text())
    for entry in results["models"]:
        low, high = (100 * bound for bound in entry["interval"])
        shown = f"{100 * entry['accuracy']:.1f} % ({low:.1f} to {high:.1f}, n={entry['n']})"
        assert f"| {entry['model']} | {shown} |" in page
    mask = json.loads((run / "partition/manifest.json").read_text())
    for region, count in mask["counts"]["regions"].items():
        assert f"| {region} | {count:,} |" in page
    for output, found in mask["outputs"].items():
        assert f"| partition | {output} | `{found['sha256'][:12]}` |" in page
    assert "![train-sft](../lorapar-run/train-sft.png)" in page
    assert "stale" not in page
    columns = {line.count("|") for line in page.splitlines() if line.startswith("| stage | file")}
    assert columns == {4}


def test_the_page_shows_every_stage_and_needs_nothing_but_itself(readme_run):
    folder, _ = readme_run
    assert lorapar(["report"], folder) == "written: `lorapar-run/report.html`\n"
    page = (folder / "lorapar-run" / "report.html").read_text()
    (folder / "lorapar-run" / "report.html").unlink()
    assert outside_references(page) == []
    assert unknown_anchors(page) == []
    assert "Not shown" not in page
    for caption in ("Cumulative importance", "train-sft: loss", "train-rl: mean reward"):
        assert f"<figcaption>{caption}" in page
    assert len(page.encode()) < 3_000_000


def test_report_compares_runs_and_names_what_is_stale(readme_run):
    folder, _ = readme_run
    lines = lorapar(["report", "--markdown", "lorapar-run", "lorapar-run"], folder).splitlines()
    assert len(lines) == 2 + 2 * 3
    base, sft, rl = (line.split(" | ") for line in lines[2:5])
    assert base[1] == "embedded"
    assert base[4:9] == ["greedy", "", "", "", ""]
    assert sft[5] == rl[5] == "importance, theta 0.9, alpha 1, beta 1"
    assert sft[7].endswith("%")
    assert sft[8] == ""
    assert rl[8].endswith("%")
    splits = folder / "lorapar-run" / "classify" / "system1.jsonl"
    text = splits.read_text()
    splits.write_text(text + "\n")
    page = lorapar(["report", "--markdown"], folder)
    splits.write_text(text)
    assert "**`score` is stale: system1 changed since it was made.**" in page
    assert "**`classify` is damaged: `system1.jsonl` has " in page


def test_status_shows_what_has_become_stale(readme_run):
    folder, _ = readme_run
    rows = json.loads(lorapar(["status", "--json"], folder))
    assert {row["state"] for row in rows} == {"done"}
    splits = folder / "lorapar-run" / "classify" / "system1.jsonl"
    text = splits.read_text()
    splits.write_text(text + text.splitlines(keepends=True)[0])
    states = {
        row["stage"]: row["state"] for row in json.loads(lorapar(["status", "--json"], folder))
    }
    splits.write_text(text)
    assert states["score"] == states["train-sft"] == "stale"
    assert states["partition"] == "done"


def test_run_does_all_stages_and_skips_what_is_up_to_date(tmp_path):
    write_corpus(tmp_path / "data.jsonl")
    (tmp_path / "run.yaml").write_text(
        "run_dir: out\nmodel: embedded\n"
        "classify: {data: data.jsonl, teachers: [rules-operations, rules-cues, rules-shape]}\n"
        "score: {samples: 20}\n"
        "train_sft: {max_steps: 2}\n"
        "train_rl: {max_steps: 1, max_completion_length: 16, replay: 0.25}\n"
        "eval: {max_new_tokens: 16}\n"
    )
    first = lorapar(["run", "run.yaml"], tmp_path)
    for part in ("after RL", "System 2", "active in SFT", "region shared", "all stages", "next:"):
        assert part in first
    again = lorapar(["run", "run.yaml"], tmp_path)
    assert again.count("up to date") == 6
    table = "accuracy (greedy) on"
    assert first[first.index(table) :] == again[again.index(table) :]


@pytest.mark.skipif(not GSM8K.is_file(), reason="GSM8K is not next to the repository")
def test_gsm8k_runs_to_the_end(tmp_path):
    lines = readme_stages()
    lines[0][1] = str(GSM8K)
    for line in lines:
        lorapar(line + SHORT.get(line[0], []), tmp_path)
    records = [json.loads(x) for x in (tmp_path / "lorapar-run/classify/labels.jsonl").open()]
    assert all(record["reference_answer"] for record in records)
    assert any("<<" in record["completion"] for record in records)


@pytest.mark.slow
def test_demo_reaches_its_figures_and_repeats_them(tmp_path):
    """RL raises System 2 by 15 points over SFT; the end is above the base on both systems."""
    accuracies, masks, labels = [], [], []
    for name in ("one", "two"):
        lorapar(["demo", "--run-dir", name], tmp_path)
        run = tmp_path / name
        results = json.loads((run / "eval/test/results.json").read_text())
        accuracies.append(
            {
                entry["model"]: {s: e["accuracy"] for s, e in entry["by_system"].items()}
                for entry in results["models"]
            }
        )
        masks.append((run / "partition/mask.safetensors").read_bytes())
        labels.append((run / "classify/labels.jsonl").read_bytes())
    assert accuracies[0] == accuracies[1]
    assert masks[0] == masks[1]
    assert labels[0] == labels[1]
    base, sft, rl = (accuracies[0][model] for model in ("base", "sft", "rl"))
    assert rl["system2"] >= sft["system2"] + 0.15
    assert rl["system1"] > base["system1"]
    assert rl["system2"] > base["system2"]
