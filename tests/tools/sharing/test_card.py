"""Model cards say what the run's manifests say, and nothing of the machine."""

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.errors import UsageError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.tools.export import ExportOptions, export


def write(run, tmp_path, **options):
    """Returns the exported folder, its card, and what was said to be filled in."""
    out, said = tmp_path / "out", []
    export(run, ExportOptions(out, card=True, **options), progress=said.append)
    notes = [event.text for event in said if hasattr(event, "text")]
    return out, ModelCard.load(out / "README.md"), [n for n in notes if "to fill in" in n]


def test_the_metadata_are_those_that_the_hub_defines(run, tmp_path):
    _, card, _ = write(run, tmp_path, license="apache-2.0", base_model_id="org/tiny")
    data = card.data
    assert (data.license, data.base_model, data.library_name) == ("apache-2.0", "org/tiny", "peft")
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert data.pipeline_tag == "text-generation"
    assert {"lora", "lora-par", "sft", "grpo"} <= set(data.tags)
    (result,) = data.eval_results
    rows = run.manifest("eval/test").record(EvalRecord).metrics["models"]
    row = next(row for row in rows if row["model"] == "rl")
    low, high = row["interval"]
    assert result.metric_value == round(row["accuracy"], 4)
    assert f"{low:.4f} to {high:.4f}, n = {row['n']}" in result.metric_name


def test_the_text_has_the_facts_of_the_manifests(run, tmp_path):
    _, card, _ = write(run, tmp_path)
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        counts = run.manifest(stage).record(TrainingRecord).counts
        assert f"{stage.value} {100 * counts['active'] / counts['elements']:.1f} %" in card.text
    assert "theta 0.5, alpha 1, beta 1" in card.text
    data = run.manifest(Stage.CLASSIFY).inputs["data"]
    assert f"| data.jsonl | `{data['sha256']}` |" in card.text
    assert "by the teachers `rules-operations`" in card.text
    for row in run.manifest("eval/test").record(EvalRecord).metrics["models"][::2]:
        low, high = (100 * end for end in row["interval"])
        assert f"{100 * row['accuracy']:.1f} % ({low:.1f} to {high:.1f}, n=2)" in card.text
    assert "Difference from the base model" in card.text
    assert "lorapar partition --theta 0.5 --alpha 1.0" in card.text
    assert "lorapar train-rl" in card.text
    assert "torch 2." in card.text


def test_no_path_of_the_machine_and_no_key_is_in_the_export(run, tmp_path, monkeypatch):
    key = "hf_abcdefGHIJKL0123456789"
    monkeypatch.setenv("HF_TOKEN", key)
    path = run.folder(Stage.TRAIN_SFT) / "manifest.json"
    content = json.loads(path.read_text())
    content["settings"]["training"] = [f"run_name={key}", "output=/home/me/secret/x.json"]
    content["settings"]["template"] = "{{ messages }}\n{% of /home/me/template.jinja %}"
    content["given"] += ["training", "template"]
    path.write_text(json.dumps(content))
    out, card, _ = write(run, tmp_path)
    everything = "".join(p.read_text() for p in out.iterdir() if p.suffix in (".md", ".json"))
    for place in (str(tmp_path), "/tmp/", str(Path.home()), "/home/", os.getcwd(), "secret", key):
        assert place not in everything
    assert "--training output=x.json" in card.text
    unshared = (run.folder(Stage.TRAIN_RL) / "adapter" / "README.md").read_text()
    assert "library_name: peft" in unshared
    assert "/" not in unshared
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_what_is_not_known_is_left_to_be_filled_in_and_said(run, tmp_path):
    _, card, said = write(run, tmp_path)
    assert card.data.license is None
    assert card.data.base_model is None
    listed = card.text.partition("## To fill in")[2]
    for what in ("Licence", "Base model", "Data", "Languages"):
        assert f"- {what}" in listed
        assert any(what in note for note in said)
    assert "Results: no evaluation" not in listed


def test_figures_of_other_weights_are_left_out(run, tmp_path):
    path = run.folder("eval/test") / "manifest.json"
    content = json.loads(path.read_text())
    content["inputs"]["rl/weights"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    _, card, said = write(run, tmp_path)
    assert card.data.eval_results is None
    assert "Not evaluated." in card.text
    assert any("no evaluation of these very weights" in note for note in said)


def test_stages_that_were_not_behind_the_adapter_are_left_out(run, tmp_path):
    path = run.folder(Stage.TRAIN_RL) / "manifest.json"
    content = json.loads(path.read_text())
    content["inputs"]["adapter"] = content["inputs"]["mask"] = content["inputs"]["system2"]
    path.write_text(json.dumps(content))
    _, card, _ = write(run, tmp_path)
    assert "after reinforcement learning." in card.text
    assert "| train-sft |" not in card.text
    assert "| partition |" not in card.text


@pytest.mark.parametrize(
    ("what", "done"), [("init", "before any training"), ("sft", "fine-tuning.")]
)
def test_each_adapter_has_its_own_card(run, tmp_path, what, done):
    _, card, _ = write(run, tmp_path, what=what)
    assert done in card.text
    assert "grpo" not in card.data.tags
    assert "lorapar train-rl" not in card.text


def test_the_export_loads_and_is_what_was_trained(run, tmp_path, tiny_model_dir):
    out, _, _ = write(run, tmp_path, base_model_id="org/tiny")
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/tiny"
    trained = run.folder(Stage.TRAIN_RL) / "adapter" / "adapter_model.safetensors"
    assert (out / trained.name).read_bytes() == trained.read_bytes()
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert PeftModel.from_pretrained(base, out).active_adapter == "default"


def test_merged_weights_have_a_card_of_their_own(run, tmp_path):
    out, card, _ = write(run, tmp_path, merge=True, base_model_id="org/tiny", license="mit")
    assert card.data.library_name == "transformers"
    assert card.data.to_dict()["base_model_relation"] == "finetune"
    assert card.text.strip().startswith("# out")
    assert "PeftModel" not in card.text
    assert AutoModelForCausalLM.from_pretrained(out) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a folder to write"),
        ({"out": "o", "license": "Apache 2.0", "card": True}, "has no `Apache 2.0`"),
        ({"out": "o", "license": "mit"}, "is of a model card"),
        ({"out": "o", "license": "other", "card": True}, "needs a name"),
        ({"out": "o", "license": "mit", "license_name": "x", "card": True}, "other licences"),
        ({"out": "o", "base_model_id": "/models/llama"}, "takes the name of a repository"),
        ({"out": "o", "yes": True}, "is of `--push`"),
        ({"out": "o", "public": True}, "is of `--push`"),
        ({"push": "adapter"}, "takes the name of a repository, `OWNER/NAME`"),
        ({"push": "https://huggingface.co/me/x"}, "takes the name of a repository"),
        ({"push": "me/x/y"}, "takes the name of a repository"),
        ({"push": "me/a..b"}, "takes the name of a repository"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    if "out" in options:
        options["out"] = Path(options["out"])
    with pytest.raises(UsageError, match=message):
        ExportOptions(**options)
