"""Forgetting beside accuracy: figures of the models on disk, and where there are none."""

import json

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.measuring.forgetting import kl_from_base, record_losses
from lorapar_cli.models.measuring.written import base_completions
from lorapar_cli.models.peft_adapter import load_for_evaluation, save_peft_adapter
from lorapar_cli.models.rendering.encoding import Encoded, encode_records
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.stage_records.evaluation import EvalRecord
from tests.pipeline_runs import hold_out


@pytest.fixture
def short(tmp_path):
    """Options that measure forgetting on a short text."""
    text = tmp_path / "neutral.txt"
    text.write_text("The sun rose over the hills. " * 4)
    return {"forgetting": True, "neutral": text}


def rows(outcome):
    return {row["model"]: row for row in outcome.manifest.record(EvalRecord).metrics["models"]}


def mean(values):
    return sum(values) / len(values)


def test_figures_are_those_of_each_model(
    run_dir, evaluate_in, short, adapters, labelled_records, tiny_model_dir
):
    outcome = evaluate_in(run_dir, **short)
    found = {name: row["forgetting"] for name, row in rows(outcome).items()}
    base = find_base_model(str(tiny_model_dir))
    tokenizer = load_tokenizer(base)
    encoded = encode_records(tokenizer, labelled_records)
    for name in ("base", "sft"):
        model = load_base(base)
        if name == "sft":
            model = load_adapter(model, adapters["sft"], trainable=False).eval()
        losses = record_losses(model, encoded, tokenizer.pad_token_id)
        for system in ("system1", "system2"):
            own = [
                loss for loss, r in zip(losses, labelled_records, strict=True) if r.label == system
            ]
            assert found[name]["loss"][system] == pytest.approx(mean(own), rel=1e-6)
    assert "kl" not in found["base"]
    own = [record for record in labelled_records if record.label == "system2"]
    written = base_completions(
        model,
        tokenizer,
        [encode_prompt(tokenizer, record.prompt) for record in own],
        max_length=base.max_length,
        max_new_tokens=12,
        batch_size=5,
        seed=0,
    )
    divergences = kl_from_base(model, written, tokenizer.pad_token_id)
    assert found["sft"]["kl"]["system2"] == pytest.approx(mean(divergences), rel=1e-6)
    # What it took is told apart from what the models took, and is no result.
    metrics = outcome.manifest.metrics
    assert metrics["forgetting_seconds"] > 0
    results = json.loads((outcome.folder / Artifact.RESULTS).read_text())
    assert "forgetting_seconds" not in results
    assert results["models"][1]["forgetting"] == found["sft"]
    assert results["forgetting_basis"]["records"] == {"system1": 12, "system2": 12}
    assert results["forgetting_basis"]["prompts"] == {"system1": 12, "system2": 12}


def test_answers_are_the_same_without(run_dir, evaluate_in, short, read_samples):
    measured = read_samples(evaluate_in(run_dir, **short, temperature=0.8))
    outcome = evaluate_in(run_dir, temperature=0.8, name="without")
    assert read_samples(outcome) == measured
    assert not any("forgetting" in row for row in rows(outcome).values())
    assert "forgetting_basis" not in outcome.manifest.metrics


def test_another_text_is_another_result(run_dir, evaluate_in, short):
    first = evaluate_in(run_dir, **short, adapter=("base",))
    assert not evaluate_in(run_dir, **short, adapter=("base",)).fresh
    short["neutral"].write_text("It rained. " * 9)
    second = evaluate_in(run_dir, **short, adapter=("base",))
    assert second.fresh
    losses = [rows(each)["base"]["forgetting"]["neutral_loss"] for each in (first, second)]
    assert losses[0] != losses[1]


def test_other_tasks_have_the_losses_of_the_held_out_records(run_dir, evaluate_in, short, tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    path.write_text('{"question": "What is 2 plus 2?", "answer": "2+2=4\\n#### 4"}\n')
    own = rows(evaluate_in(run_dir, **short))
    outcome = evaluate_in(run_dir, **short, task="gsm8k", data=str(path))
    found = rows(outcome)
    for name, row in found.items():
        assert row["forgetting"]["loss"] == own[name]["forgetting"]["loss"]
    assert found["rl"]["forgetting"]["kl"].keys() == {"unlabelled"}
    assert set(outcome.manifest.metrics["forgetting_basis"]["sources"]) == {"heldout", "neutral"}
    # Without held-out records there are no losses, and the rest is measured all the same.
    hold_out(run_dir, [])
    found = rows(evaluate_in(run_dir, **short, task="gsm8k", data=str(path), name="apart"))
    assert found["rl"]["forgetting"]["loss"] == {}
    assert found["rl"]["forgetting"]["kl"]["unlabelled"] > 0


def test_given_completions_say_that_nothing_is_measured(run_dir, evaluate_in, tmp_path):
    path = tmp_path / "completions.jsonl"
    path.write_text(
        "".join(f'{{"id": "s{s}-{n}", "completion": "1"}}\n' for s in (1, 2) for n in range(12))
    )
    outcome = evaluate_in(run_dir, completions=path, forgetting=True)
    assert any("no model is run" in note for note in outcome.manifest.notes)
    outcome = evaluate_in(run_dir, completions=path, name="off")
    assert not any("forgetting" in note for note in outcome.manifest.notes)


@pytest.mark.parametrize("kind", [PromptTuningConfig, PrefixTuningConfig])
def test_adapters_of_virtual_tokens_are_measured_behind_these(tiny_model_dir, tmp_path, kind):
    base = find_base_model(str(tiny_model_dir))
    torch.manual_seed(1)
    tuned = get_peft_model(load_base(base), kind(task_type="CAUSAL_LM", num_virtual_tokens=3))
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    save_peft_adapter(tuned, tmp_path / "tuned")
    model = load_for_evaluation(load_base(base), tmp_path / "tuned")
    samples = [Encoded([5, 6, 7, 8], 2), Encoded([9, 10, 11], 1), Encoded([12, 13], 1)]
    found = record_losses(model, samples, 0)
    for sample, loss in zip(samples, found, strict=True):
        with torch.inference_mode():
            logits = tuned(input_ids=torch.tensor([sample.input_ids])).logits[0]
        # Behind virtual tokens PEFT returns their logits as well.
        rows_ = logits[len(logits) - len(sample.input_ids) :].log_softmax(-1)
        targets = sample.input_ids[sample.prompt_length :]
        picked = [
            float(rows_[sample.prompt_length - 1 + n, token]) for n, token in enumerate(targets)
        ]
        assert loss == pytest.approx(-mean(picked), rel=1e-4)
    assert min(kl_from_base(model, samples, 0)) > 0
    plain = record_losses(load_base(base), samples, 0)
    assert plain != pytest.approx(found, rel=1e-3)
