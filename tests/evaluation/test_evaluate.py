"""`eval` on a random Llama with two adapters: completions, figures, what is refused."""

import json

import pytest
import torch

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.grading.answers import answers_match, extract_answer
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.store.records import write_jsonl, write_records
from lorapar_cli.store.run_dir import RunDir


def test_every_model_completes_as_it_does_alone(
    run_dir, evaluate_in, read_samples, tiny_model_dir, adapters, labelled_records
):
    outcome = evaluate_in(run_dir)
    samples = read_samples(outcome)
    models = outcome.manifest.record(EvalRecord).metrics["models"]
    assert [row["model"] for row in models] == ["base", "sft", "rl"]
    assert len(samples) == 3 * len(labelled_records)
    base = find_base_model(str(tiny_model_dir))
    tokenizer = load_tokenizer(base)
    texts = set()
    for name in ("base", "sft", "rl"):
        model = load_base(base)
        if name != "base":
            model = load_adapter(model, adapters[name], trainable=False)
        ours = [sample["completion"] for sample in samples if sample["model"] == name]
        for record, text in zip(labelled_records, ours, strict=True):
            ids = torch.tensor([encode_prompt(tokenizer, record.prompt)])
            whole = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)
            assert text == tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
        texts.add(tuple(ours))
    assert len(texts) == 3


def test_figures_follow_from_the_samples(run_dir, evaluate_in, read_samples):
    outcome = evaluate_in(run_dir)
    results = json.loads((outcome.folder / Artifact.RESULTS).read_text())
    samples = read_samples(outcome)
    assert results["schema"] == 1
    for sample in samples:
        assert sample["extracted"] == extract_answer(sample["completion"])
        assert sample["correct"] == answers_match(sample["extracted"], sample["reference"])
    for row in results["models"]:
        own = [sample for sample in samples if sample["model"] == row["model"]]
        assert row["correct"] == sum(sample["correct"] for sample in own)
        assert row["n"] == len(own)
        for system, inside in row["by_system"].items():
            assert inside["n"] == sum(sample["system"] == system for sample in own) == 12
    assert [(pair["model"], pair["against"]) for pair in results["pairs"]] == [
        ("sft", "base"),
        ("rl", "base"),
        ("rl", "sft"),
    ]


def test_the_manifest_holds_what_decides_the_result(run_dir, evaluate_in, tiny_model_dir):
    manifest = evaluate_in(run_dir, adapter=("sft",), limit=2).manifest
    base = find_base_model(str(tiny_model_dir)).to_manifest()
    assert list(manifest.settings.items()) == [
        ("task", "data"),
        ("num_fewshot", 0),
        ("style", "trained"),
        ("match", "answer"),
        ("limit", 2),
        ("max_new_tokens", 12),
        ("samples", 1),
        ("temperature", 0.0),
        ("top_p", 1.0),
        ("k", (1,)),
        ("forgetting", False),
        ("code_packages", ()),
        ("code_timeout", 10.0),
        ("code_memory", 512),
        ("seed", 0),
        ("sandbox", None),
        ("models", ["sft"]),
        ("base_model", base),
        ("backend", "transformers"),
        ("batch_size", 5),
        ("template", None),
        ("template_arg", []),
        ("dtype", "auto"),
        ("attention", None),
        ("trust_remote_code", False),
    ]
    assert list(manifest.inputs) == ["data", "sft/config", "sft/weights"]
    assert manifest.base_model == base


def test_same_options_same_files_and_then_up_to_date(run_dir, evaluate_in):
    first = evaluate_in(run_dir, name="one")
    second = evaluate_in(run_dir, name="two")
    for file in (Artifact.SAMPLES, Artifact.RESULTS):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()
    assert first.fresh
    assert not evaluate_in(run_dir, name="one").fresh
    assert evaluate_in(run_dir, name="one", max_new_tokens=3).fresh


def test_own_data_with_labels_and_records_without_reference(run_dir, evaluate_in, tmp_path):
    rows = [
        {"question": "1+1?", "answer": "#### 2", "label": "system1", "steps": 1},
        {"question": "1+2-1?", "answer": "3-1=2\n#### 2", "label": "system2", "steps": 2},
        {"instruction": "Say something", "output": "Well, then"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = evaluate_in(run_dir, data=str(path), adapter=("base",))
    assert outcome.folder == run_dir.folder(Stage.EVAL) / "mine"
    metrics = outcome.manifest.record(EvalRecord).metrics
    (row,) = metrics["models"]
    assert row["n"] == 2
    assert {system: inside["n"] for system, inside in row["by_system"].items()} == {
        "system1": 1,
        "system2": 1,
    }
    assert list(row["by_steps"]) == ["1", "2"]
    assert metrics["pairs"] == []
    assert any("1 record has no reference" in note for note in outcome.manifest.notes)


def test_eval_needs_no_run_directory(tmp_path, evaluate_in, tiny_model_dir, labelled_records):
    path = tmp_path / "records.jsonl"
    write_records(path, labelled_records)
    run = RunDir(tmp_path / "none")
    outcome = evaluate_in(run, data=str(path), model=str(tiny_model_dir))
    models = outcome.manifest.record(EvalRecord).metrics["models"]
    assert [row["model"] for row in models] == ["base"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"adapter": ("stf",)}, UsageError, "did you mean `sft`"),
        ({"adapter": ("mine=nowhere",)}, LoraparError, "no adapter in `nowhere`"),
        ({"data": "nowhere.jsonl"}, LoraparError, "no such data file"),
        ({"model": "nowhere"}, LoraparError, "cannot load base model"),
        ({"name": "../away"}, UsageError, "plain folder name"),
    ],
)
def test_refused_before_any_work(run_dir, evaluate_in, options, error, message):
    with pytest.raises(error, match=message):
        evaluate_in(run_dir, **options)
    assert not run_dir.folder(Stage.EVAL).exists()


def test_empty_inputs_are_errors(run_dir, evaluate_in, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(LoraparError, match="no records"):
        evaluate_in(run_dir, data=str(empty))
    held_out = run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT
    held_out.write_text("")
    with pytest.raises(LoraparError, match="nothing to evaluate on"):
        evaluate_in(run_dir)
    held_out.unlink()
    with pytest.raises(LoraparError, match="nothing to evaluate on"):
        evaluate_in(run_dir)


def test_a_prompt_beyond_the_models_positions_is_refused(run_dir, evaluate_in, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "x" * 600, "answer": "#### 2"}))
    with pytest.raises(LoraparError, match="leaves no room"):
        evaluate_in(run_dir, data=str(path))
    assert not run_dir.folder(Stage.EVAL).exists()


def test_given_completions_need_no_model(tmp_path, read_samples, labelled_records):
    data, path = tmp_path / "records.jsonl", tmp_path / "completions.jsonl"
    write_records(data, labelled_records)
    write_jsonl(
        path,
        (
            {"id": record.id, "completion": record.completion if draw else "#### -1"}
            for record in labelled_records
            for draw in range(2)
        ),
    )
    run = RunDir(tmp_path / "run")
    options = {"data": str(data), "completions": path}
    with pytest.raises(UsageError, match="needs at least that many completions"):
        evaluate(run, EvalOptions(k=(3,), **options))
    outcome = evaluate(run, EvalOptions(k=(1, 2), **options))
    record = outcome.manifest.record(EvalRecord)
    (row,) = record.metrics["models"]
    assert row["model"] == "completions"
    assert row["accuracy"] == 0
    assert row["pass_at_k"]["2"]["pass_rate"] == 1
    assert len(read_samples(outcome)) == 48
    assert "seconds" not in record.metrics
    assert "cut_prompts" not in record.counts
    assert "backend" not in outcome.manifest.settings
    assert not evaluate(run, EvalOptions(k=(2, 1), **options)).fresh


def test_given_completions_are_graded_in_one_process(tmp_path, monkeypatch, labelled_records):
    monkeypatch.setenv("WORLD_SIZE", "2")
    data = tmp_path / "records.jsonl"
    write_records(data, labelled_records)
    options = EvalOptions(data=str(data), completions=tmp_path / "completions.jsonl")
    with pytest.raises(UsageError, match="in one process"):
        evaluate(RunDir(tmp_path), options)


def test_likelihoods_are_not_given(tmp_path):
    row = {"subject": "anatomy", "question": "q", "choices": ["w", "x", "y", "z"], "answer": 1}
    write_jsonl(tmp_path / "mmlu.jsonl", [row])
    options = EvalOptions(
        task="mmlu",
        data=str(tmp_path / "mmlu.jsonl"),
        num_fewshot=0,
        completions=tmp_path / "completions.jsonl",
    )
    with pytest.raises(UsageError, match="takes no `--completions`"):
        evaluate(RunDir(tmp_path), options)


def test_code_runs_only_when_allowed(tmp_path):
    row = {
        "task_id": "T/0",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(c):\n    assert c() == 1\n",
    }
    data, completions = tmp_path / "problems.jsonl", tmp_path / "completions.jsonl"
    write_jsonl(data, [row])
    write_jsonl(completions, [{"task_id": "T/0", "completion": "    return 1\n"}])
    options = {"task": "humaneval", "data": str(data), "completions": completions}
    run = RunDir(tmp_path / "run")
    with pytest.raises(UsageError, match="runs code that a model wrote"):
        evaluate(run, EvalOptions(**options))
    outcome = evaluate(run, EvalOptions(allow_code_execution=True, **options))
    assert outcome.manifest.record(EvalRecord).metrics["models"][0]["accuracy"] == 1
    assert outcome.manifest.settings["sandbox"] in ("bubblewrap", "landlock")


def test_humaneval_has_the_plain_figure_and_options_that_results_depend_on(tmp_path):
    row = {
        "task_id": "T/0",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "import yaml\n\ndef check(c):\n    assert c('[1, 2]') == yaml.safe_load('[1, 2]')\n",
    }
    completions = [
        "```python\nimport yaml\n\ndef f(x):\n    return yaml.safe_load(x)\n```",
        "    return [1, 2]\n",
        "    return [1, '\ud800']\n",
    ]
    data, given = tmp_path / "problems.jsonl", tmp_path / "completions.jsonl"
    write_jsonl(data, [row | {"task_id": f"T/{n}"} for n in range(3)])
    given.write_text(
        "".join(
            json.dumps({"task_id": f"T/{n}", "completion": text}) + "\n"
            for n, text in enumerate(completions)
        )
    )
    options = {
        **{"task": "humaneval", "data": str(data), "completions": given},
        **{"allow_code_execution": True, "code_timeout": 20.0, "code_memory": 300},
    }
    run = RunDir(tmp_path / "run")
    with pytest.raises(UsageError, match="not installed"):
        evaluate(run, EvalOptions(code_packages=("no_such_package",), **options))
    outcome = evaluate(run, EvalOptions(code_packages=("yaml",), **options))
    (model,) = outcome.manifest.record(EvalRecord).metrics["models"]
    assert (model["correct"], model["plain"]["correct"]) == (2, 1)
    settings = outcome.manifest.settings
    assert settings["code_packages"] == ["yaml"] or settings["code_packages"] == ("yaml",)
    assert (settings["code_timeout"], settings["code_memory"]) == (20.0, 300)
    assert list(settings["code_package_versions"]) == ["yaml"]
    without = evaluate(run, EvalOptions(**options))
    assert without.fresh
    (model,) = without.manifest.record(EvalRecord).metrics["models"]
    assert (model["correct"], model["problems"]["exception"]) == (0, 3)
