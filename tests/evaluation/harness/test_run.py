"""What is kept of the harness's results; with the real harness on task files of our own."""

import json

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.harness.run import _read_metrics, _read_samples
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.review.pair import compare_evaluations
from lorapar_cli.evaluation.review.read import read_evaluation
from lorapar_cli.evaluation.review.show import explain
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.store.records import read_jsonl, write_jsonl
from lorapar_cli.store.run_dir import RunDir

FOUND = {
    "results": {
        "toy": {
            "alias": "toy",
            "f1,none": 0.25,
            "f1_stderr,none": "N/A",
            "acc,strict": 0.5,
            "acc_stderr,strict": 0.1,
            "sample_len": 2,
        }
    },
    "samples": {"toy": [{"doc_id": 0}, {"doc_id": 1}, {"doc_id": 1}]},
    "versions": {"toy": 1.0},
    "n-shot": {"toy": 3},
    "higher_is_better": {"toy": {"f1": True}},
}


def test_metrics_keep_their_names_filters_and_errors():
    assert _read_metrics("toy", FOUND) == {
        **{"task": "toy", "is_group": False, "version": "1.0", "num_fewshot": 3, "n": 2},
        "metrics": [
            {"metric": "f1", "filter": "none", "value": 0.25, "stderr": None}
            | {"higher_is_better": True},
            {"metric": "acc", "filter": "strict", "value": 0.5, "stderr": 0.1}
            | {"higher_is_better": None},
        ],
    }


def logged(doc, kind="none", **metrics):
    return {
        **{"doc_id": doc, "doc": {"q": doc}, "target": "4", "arguments": [(f"Q{doc}", {})]},
        **{"resps": [["it is 4"]], "filtered_resps": ["4"], "filter": kind},
        **{"metrics": list(metrics), **metrics},
    }


def test_a_sample_is_right_or_wrong_by_metrics_that_say_so():
    rows = [
        logged(1, exact_match=1.0, bleu=("a", "b")),
        logged(0, exact_match=0.0, bleu=("a", "b")),
        logged(0, "loose", exact_match=1.0),
    ]
    wrong, right = _read_samples("base", "toy", rows)
    assert (wrong["id"], wrong["prompt"], wrong["completion"]) == ("toy/0", "Q0", "it is 4")
    assert (wrong["correct"], right["correct"]) == (False, True)
    assert wrong["metrics"] == {"exact_match,none": 0.0, "exact_match,loose": 1.0}
    (neither,) = _read_samples("base", "toy", [logged(0, f1=1.0)])
    assert neither["correct"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "arc_easi"}, "`--task` has no `arc_easi`"),
        ({"task": "gsm8"}, "did you mean `gsm8k`"),
        ({"lm_eval_include": "tasks"}, "needs `--backend lm-eval`"),
        ({"task": "a,b", "backend": "lm-eval", "data": "x"}, "has no `--data`"),
        ({"task": "a", "backend": "lm-eval", "style": "harness"}, "has no `--style`"),
    ],
)
def test_refused(options, message, tmp_path):
    if "lm_eval_include" in options:
        options["lm_eval_include"] = tmp_path
    with pytest.raises(UsageError, match=message):
        EvalOptions(**options)


def test_our_own_tasks_stay_ours_unless_a_folder_may_hold_others(tmp_path):
    own = EvalOptions(task="mmlu", backend="lm-eval")
    assert own.harness_tasks == []
    assert EvalOptions(task="mmlu, b", backend="lm-eval").harness_tasks == ["mmlu", "b"]
    folder = EvalOptions(task="mmlu", backend="lm-eval", lm_eval_include=tmp_path)
    assert folder.harness_tasks == ["mmlu"]


CHOICES = """task: toy_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/choices.jsonl}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 2.0}}
"""
TEXTS = """task: toy_texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/texts.jsonl, train: {folder}/train.jsonl}}}}
output_type: generate_until
training_split: train
fewshot_split: train
test_split: test
num_fewshot: 3
doc_to_text: "Q: {{{{q}}}} A:"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["Q:"], do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""
GROUP = """group: toy_group
task: [toy_choices]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
"""


@pytest.fixture
def tasks(tmp_path):
    """A folder with two tasks and a group."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_jsonl(
        folder / "choices.jsonl",
        [{"question": f"Is {n} one?", "choices": ["no", "yes"], "label": n == 1} for n in range(4)],
    )
    texts = [{"q": f"{n} and {n}?", "a": str(2 * n)} for n in range(4)]
    write_jsonl(folder / "texts.jsonl", texts)
    write_jsonl(folder / "train.jsonl", [row | {"q": row["q"].upper()} for row in texts])
    for name, text in (("choices", CHOICES), ("texts", TEXTS)):
        (folder / f"{name}.yaml").write_text(text.format(folder=folder))
    (folder / "group.yaml").write_text(GROUP)
    return folder


@pytest.mark.extra("lm_eval")
def test_tasks_of_a_folder_by_name(tasks, tmp_path, tiny_model_dir):
    def call(**more):
        options = {"task": "toy_group,toy_texts", "model": str(tiny_model_dir), **more}
        return evaluate(
            RunDir(tmp_path / "run"),
            EvalOptions(backend="lm-eval", lm_eval_include=tasks, max_new_tokens=4, **options),
            given=["max_new_tokens"],
        )

    outcome = call()
    (row,) = outcome.manifest.record(EvalRecord).metrics["harness"]
    assert {task["task"]: task["n"] for task in row["tasks"]} == {
        **{"toy_choices": 4, "toy_texts": 4, "toy_group": 4},
    }
    results = json.loads((outcome.folder / "results.json").read_text())
    assert results["harness"] == [row]
    assert results["settings"]["max_new_tokens"] == 4
    samples = [line for _, line in read_jsonl(outcome.folder / "samples.jsonl")]
    for sample in samples:
        if sample["task"] == "toy_texts":
            assert sample["prompt"].count("Q:") == 4
            asked = sample["prompt"].rpartition("Q: ")[2].removesuffix(" A:")
            assert sample["prompt"].upper().count(asked.upper()) == 1
        else:
            assert {sample["reference"], sample["extracted"]} <= {"no", "yes"}
            assert sample["correct"] == (sample["reference"] == sample["extracted"])
    found = {task["task"]: task["metrics"][0] for task in row["tasks"]}
    right = sum(sample["correct"] for sample in samples if sample["task"] == "toy_choices")
    assert found["toy_choices"]["value"] == found["toy_group"]["value"] == right / 4
    assert not call().fresh
    evaluation = read_evaluation(outcome.folder)
    assert explain(next(evaluation.samples()), evaluation).startswith("acc,none")
    (pair,) = compare_evaluations(evaluation, evaluation, None, anyway=False).pairs
    assert (pair["n"], pair["difference"]) == (8, 0.0)
    with pytest.raises(UsageError, match="has no task `toy_text`, did you mean `toy_texts`"):
        call(task="toy_text")
    (tasks / "broken.yaml").write_text(CHOICES.format(folder=tasks / "none").replace("toy", "bad"))
    with pytest.raises(LoraparError, match="cannot load `bad_choices`"):
        call(task="bad_choices")
