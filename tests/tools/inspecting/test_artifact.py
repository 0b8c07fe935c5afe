"""`lorapar inspect` of every artifact but importance and masks."""

import json
import re

import numpy as np
import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.tensor_files import write_tensors
from lorapar_cli.tools.inspecting.artifact import inspect_artifact
from tests.tools.inspecting.artifacts import LINES, NAME, write_adapter, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


KINDS = {
    ".": "run",
    "classify": "stage",
    "classify/manifest.json": "stage",
    "train-sft": "stage",
    "eval/test": "stage",
    "train-sft/adapter": "adapter",
    "train-sft/adapter/adapter_model.safetensors": "adapter",
    "train-sft/adapter/adapter_config.json": "adapter",
    "classify/labels.jsonl": "records",
    "classify/votes.jsonl": "votes",
    "train-sft/metrics.jsonl": "metrics",
    "train-sft/replay.jsonl": "replay",
    "train-rl/pass-rates.jsonl": "pass rates",
    "train-rl/refill.jsonl": "refill",
    "train-rl/learning-rates.jsonl": "learning rates",
    "train-rl/completions.jsonl": "completions",
    "eval/test/samples.jsonl": "samples",
    "eval/test/results.json": "evaluation",
    "eval": "run",
    "merged": "weights",
    "merged/model-0.safetensors": "weights",
    "merged/config.json": "object",
    "begun": "unfinished",
    "begun/unfinished.json": "unfinished",
    "begun/checkpoints/checkpoint-2/complete": "object",
    "compare": "comparison",
    "compare/results.json": "comparison",
    "sweep": "sweep",
}


@pytest.mark.parametrize("name", KINDS)
def test_every_artifact_is_known_and_shown_in_80_columns(run, name, capfd):
    assert inspect_artifact(run / name)["kind"] == KINDS[name]
    for flags in ((), ("--json",)):
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(run / name), *flags])
        assert ended.value.code == 0
        out = capfd.readouterr().out
        if flags:
            assert json.loads(out)["kind"] == KINDS[name]
        else:
            # A path that is longer than the line is continued by the terminal.
            lines = [line for line in out.splitlines() if str(run) not in line]
            assert max(map(len, lines), default=0) <= 80
            assert len(lines) <= 60


def test_fields_have_their_values_and_ranges(run):
    fields = inspect_artifact(run / "classify/labels.jsonl")["fields"]
    assert fields["label"]["values"] == {"system1": 1, "system2": 1}
    assert fields["agreement"]["values"] is None
    assert [fields["agreement"][key] for key in ("least", "mean", "most")] == [0.5, 0.75, 1.0]
    assert fields["votes.y"] == {
        "lines": 1,
        "null": 1,
        "values": None,
        "least": None,
        "mean": None,
        "most": None,
    }
    assert inspect_artifact(run / "train-rl/refill.jsonl")["lines"] == 0
    assert (
        inspect_artifact(run / "train-sft/metrics.jsonl")["first"]
        == LINES["train-sft/metrics.jsonl"][0]
    )


def test_many_or_long_values_are_not_listed(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"id": str(n), "text": "word " * 20, "few": n % 2 == 0} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = inspect_artifact(path)
    assert report["kind"] == "lines"
    assert report["fields"]["id"]["values"] is report["fields"]["text"]["values"] is None
    assert report["fields"]["few"]["values"] == {"true": 20, "false": 20}


def test_numbers_that_a_float_cannot_hold_have_no_range(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        f'{{"a": {"9" * 400}, "b": 1.7e308, "c": 1}}\n{{"a": 1, "b": 1.7e308, "c": 2}}\n'
    )
    fields = inspect_artifact(path)["fields"]
    assert (fields["a"]["lines"], fields["a"]["least"], fields["a"]["most"]) == (2, 1, 1)
    assert (fields["b"]["mean"], fields["c"]["mean"]) == (1.7e308, 1.5)
    with pytest.raises(SystemExit):
        main(["inspect", str(path)])
    assert "mean 1.7e+308" in capsys.readouterr().out


def test_an_adapter_of_peft_needs_no_run(tmp_path):
    report = inspect_artifact(write_adapter(tmp_path / "adapter"))
    assert (report["tensors"], report["elements"], report["stage"]) == (2, 28, None)
    assert report["by_kind"] == {"q_proj A": 16, "q_proj B": 12}
    assert (report["base_model"], report["settings"]) == ("someone/model", {"r": 2})
    one = inspect_artifact(tmp_path / "adapter", tensor="lora_B")
    assert (one["tensor"], one["shape"], one["dtype"]) == (NAME.format("B"), [6, 2], "F32")
    with pytest.raises(LoraparError, match="no tensor"):
        inspect_artifact(tmp_path / "adapter", tensor="embedding")


def test_a_method_without_matrices_lists_its_tensors(tmp_path):
    report = inspect_artifact(write_adapter(tmp_path / "adapter", "PROMPT_TUNING"))
    assert report["by_kind"] == {"prompt_embeddings": 32}
    assert report["dtypes"] == ["F16"]


def test_tensors_of_all_layers_and_experts_are_one_kind(tmp_path):
    adapter = write_adapter(tmp_path / "ia3", "IA3")
    name = "base_model.model.model.layers.{}.mlp.down_proj.ia3_l"
    tensors = {name.format(layer): np.ones((1, 4), np.float32) for layer in range(30)}
    write_tensors(adapter / "adapter_model.safetensors", tensors, {"format": "pt"})
    assert inspect_artifact(adapter)["by_kind"] == {name.format("*"): 120}


def test_a_model_is_read_by_its_index(run):
    report = inspect_artifact(run / "merged")
    assert report["by_kind"] == {"model.layers.*.mlp.weight": 24}
    assert (report["tensors"], report["elements"], report["missing"]) == (2, 24, [])
    assert inspect_artifact(run / "merged", tensor="layers.1")["shape"] == [3, 4]
    (run / "merged/model-1.safetensors").unlink()
    report = inspect_artifact(run / "merged")
    assert (report["elements"], report["missing"]) == (12, ["model-1.safetensors"])


def test_an_index_names_no_file_outside_its_folder(run):
    places = {"weight_map": {"x": "../train-sft/adapter/adapter_model.safetensors"}}
    (run / "merged/model.safetensors.index.json").write_text(json.dumps(places))
    with pytest.raises(LoraparError, match="is no index of weights"):
        inspect_artifact(run / "merged")


def test_tensors_of_bytes_are_no_mask_without_its_header(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"x": np.zeros((2, 2), np.uint8)}, {"format": "pt"})
    assert inspect_artifact(tmp_path / "x.safetensors")["kind"] == "weights"


def test_what_is_unfinished_says_how_far_it_is(run, capsys):
    report = inspect_artifact(run / "begun")
    assert report["checkpoints"] == {"checkpoint-2": True, "checkpoint-10": False}
    assert report["settings"] == {"learning_rate": 1e-4, "watch": None}
    assert set(report["files"]) == {"unfinished.json", "metrics.jsonl"}
    (run / "begun/unfinished.json").write_text("[]")
    with pytest.raises(LoraparError, match="is damaged"):
        inspect_artifact(run / "begun")


def test_a_stage_shows_what_was_given_and_counts_what_is_off(tmp_path, capsys):
    settings = {f"off_{n}": None for n in range(50)} | {"rate": 0.001, "given": "x", "no": False}
    data = {"deep": {"loss": {"system1": 1.25}, "file": "ab" * 32}}
    manifest = Manifest(Stage.SCORE, settings, ["given"], metrics=data)
    write_manifest(tmp_path, manifest)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path)])
    out = capsys.readouterr().out
    assert "off_1" not in out
    assert re.search(r"given\s.*x\b", out)
    assert "rate 0.001" in out
    assert "51, in full with `--json`" in out
    assert "loss (system1 1.25), file abababababab..." in out
    assert len(out.splitlines()) < 30


def test_an_evaluation_has_intervals_systems_and_differences(run, capsys):
    for name in ("eval/test", "eval/test/results.json"):
        with pytest.raises(SystemExit):
            main(["inspect", str(run / name)])
        out = " ".join(capsys.readouterr().out.split())
        for said in ("1 of 2 correct, 50.0 % (9.4 to 90.5)", "system1 1 of 1", "+50.0 points"):
            assert said in out


def test_comparisons_and_sweeps_have_their_figures(run):
    summary = inspect_artifact(run / "compare")["summary"]
    assert summary["base model"] == "loss system1 2.0000"
    assert summary["train-sft paper"] == "loss system1 1.5000, 1,200 active elements"
    assert summary["train-sft random"] == "diverged"
    summary = inspect_artifact(run / "sweep")["summary"]
    assert summary["alpha 0"] == "accuracy % after the first stage 37.50"
    assert summary["alpha 1"] == "no figures"


def test_an_evaluation_without_gradable_items_has_no_share(tmp_path, capsys):
    row = {"model": "base", "correct": 0, "n": 0, "accuracy": None, "interval": [0.0, 1.0]}
    write_manifest(tmp_path, Manifest(Stage.EVAL, {}, metrics={"models": [row], "pairs": []}))
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path)])
    assert ended.value.code == 0
    assert "0 of 0 correct" in capsys.readouterr().out


@pytest.mark.parametrize(
    "models", ["text", [1], [{"model": "a"}], [{"model": "a", "n": "1"}], None]
)
def test_metrics_that_no_evaluation_wrote_are_shown_as_they_are(tmp_path, capsys, models):
    write_manifest(tmp_path, Manifest(Stage.SCORE, {}, metrics={"models": models, "pairs": []}))
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path)])
    assert ended.value.code == 0
    assert "models" in capsys.readouterr().out


def test_numbers_that_json_does_not_know_are_text_in_its_output(tmp_path, capsys):
    for name in ("mine.json", "mine.jsonl"):
        (tmp_path / name).write_text('{"a": NaN, "b": [1e999, {"c": -1e999}], "d": 1}\n')
        with pytest.raises(SystemExit):
            main(["inspect", str(tmp_path / name), "--json"])
        out = capsys.readouterr().out

        def unknown(found):
            raise AssertionError(found)

        report = json.loads(out, parse_constant=unknown)
        content = report["content"] if name == "mine.json" else report["first"]
        assert content == {"a": "NaN", "b": ["Infinity", {"c": "-Infinity"}], "d": 1}


def test_tasks_of_the_harness_are_in_the_summary(tmp_path):
    task = {"task": "arc", "metrics": [{"metric": "acc", "value": 0.25}]}
    content = {"task": "arc", "models": [], "settings": {}, "pairs": []}
    content["harness"] = [{"model": "base", "tasks": [task]}]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert inspect_artifact(tmp_path)["summary"] == {"task": "arc", "base": "arc acc 0.25"}


def test_the_stage_that_wrote_an_adapter_is_named(run):
    assert inspect_artifact(run / "train-sft/adapter")["stage"] == "train-sft"


def test_a_changed_file_is_named(run):
    (run / "classify/labels.jsonl").write_text('{"id": "c"}\n')
    report = inspect_artifact(run / "classify")
    assert list(report["damaged"]) == ["labels.jsonl"]
    with pytest.raises(LoraparError, match="is not the file that `classify` wrote"):
        inspect_artifact(run / "classify/labels.jsonl")


def test_what_cannot_be_inspected_is_refused(run, tmp_path):
    for name in ("page.html", "weights.bin", "card.md", "odd.xyz"):
        (tmp_path / name).write_text("")
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "broken.jsonl").write_text('{"a": 1}\nno\n')
    (tmp_path / "empty").mkdir()
    for name, said in {
        "page.html": "is for people",
        "odd.xyz": "nothing that can be inspected",
        "empty": "nothing that can be inspected",
        "other.json": "holds no results",
        "broken.jsonl": "broken.jsonl:2",
        "missing.jsonl": "no such file",
        "weights.bin": "may be pickled and is not read",
        "card.md": "is for people",
    }.items():
        with pytest.raises(LoraparError, match=said):
            inspect_artifact(tmp_path / name)
    with pytest.raises(UsageError, match="has no tensors"):
        inspect_artifact(run / "classify", tensor="x")
    adapter = write_adapter(tmp_path / "pickled")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(LoraparError, match="are pickled"):
        inspect_artifact(adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(LoraparError, match="configuration of an adapter and no weights"):
        inspect_artifact(adapter)
    write_adapter(tmp_path / "odd")
    (tmp_path / "odd/adapter_config.json").write_text("{}")
    with pytest.raises(LoraparError, match="no `peft_type`"):
        inspect_artifact(tmp_path / "odd")


def test_damaged_results_are_an_error(tmp_path):
    (tmp_path / "results.json").write_text(
        json.dumps({"task": "x", "models": [{"n": 1}], "settings": {}})
    )
    with pytest.raises(LoraparError, match="is damaged"):
        inspect_artifact(tmp_path / "results.json")
