"""What the harness is called with and how its samples are read, on a stand-in for its interface.

`test_lm_eval_agreement.py` holds the real harness against our own code, where it is installed.
"""

import sys
from types import ModuleType

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.lm_eval_backend import check_harness, predict_with_harness
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.store.records import write_jsonl

QUESTIONS = [{"question": f"{n}+{n}?", "answer": f"#### {2 * n}"} for n in range(2)]
CHOICES = [
    {"subject": subject, "question": f"Pick {n}", "choices": ["w", "x", "y", "z"], "answer": n}
    for subject, n in (("anatomy", 1), ("virology", 2), ("anatomy", 3))
]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Puts the stand-in in place; returns what `simple_evaluate` was called with."""
    made = []

    class ConfigurableTask:
        def __init__(self, config):
            self.config = config
            self.rows = config["custom_dataset"]()["test"]

    def simple_evaluate(model, tasks, num_fewshot, gen_kwargs, **_):
        made.append({"model": model, "num_fewshot": num_fewshot, "gen_kwargs": gen_kwargs})
        return {"samples": {task.config["task"]: _log(task) for task in tasks}}

    def _log(task):
        logged = []
        for number, row in enumerate(task.rows):
            shown = {"doc_id": number, "arguments": [[f"harness: {row['question']}"]]}
            if task.config["task"] == "gsm8k":
                texts = {"strict-match": ["[invalid]"], "flexible-extract": ["1"]}
                logged += [
                    shown
                    | {"filter": name, "resps": [["the answer is 2"]], "filtered_resps": found}
                    | {"exact_match": 0.0}
                    for name, found in texts.items()
                ]
            else:
                scores = [[-4.0, False], [-1.0, False], [-2.0, False], [-3.0, False]]
                logged.append(
                    shown | {"filter": "none", "filtered_resps": scores, "acc": row["answer"] == 1}
                )
        return logged[::-1]

    modules = {
        name: ModuleType(name)
        for name in ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface", "lm_eval.api")
    } | {"lm_eval.api.task": ModuleType("lm_eval.api.task")}
    modules["lm_eval"].simple_evaluate = simple_evaluate
    modules["lm_eval"].__file__ = str(tmp_path / "lm_eval" / "__init__.py")
    modules["lm_eval.models.huggingface"].HFLM = lambda **settings: settings
    modules["lm_eval.api.task"].ConfigurableTask = ConfigurableTask
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    tasks = tmp_path / "lm_eval" / "tasks"
    for file in ("gsm8k/gsm8k.yaml", "mmlu/default/_default_template_yaml"):
        (tasks / file).parent.mkdir(parents=True)
        (tasks / file).write_text("tag: math\ndataset_path: from/the-hub\ntest_split: test\n")
    return made


def load(tmp_path, rows, **options):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return load_task(EvalOptions(data=str(tmp_path / "rows.jsonl"), num_fewshot=0, **options))


def test_gsm8k_has_the_harness_grade_as_the_strict_one(calls, tmp_path):
    task = load(tmp_path, QUESTIONS, task="gsm8k", style="harness")
    samples = predict_with_harness(task, "mine", "model", "tokenizer", 3, 48)
    assert [sample["id"] for sample in samples] == ["0", "1"]
    assert [sample["prompt"] for sample in samples] == ["harness: 0+0?", "harness: 1+1?"]
    assert [sample["correct"] for sample in samples] == [False, True]
    for sample in samples:
        assert (sample["model"], sample["draw"]) == ("mine", 0)
        assert (sample["completion"], sample["extracted"]) == ("the answer is 2", "2")
        assert (sample["extracted_strict"], sample["correct_strict"]) == (None, False)
    (call,) = calls
    assert call["model"] == {"pretrained": "model", "tokenizer": "tokenizer", "batch_size": 3}
    assert (call["num_fewshot"], call["gen_kwargs"]) == (0, "max_gen_toks=48")


def test_mmlu_subjects_are_tasks_and_samples_come_in_the_items_order(calls, tmp_path):
    task = load(tmp_path, CHOICES, task="mmlu")
    samples = predict_with_harness(task, "base", "model", "tokenizer", 3, 48)
    assert [(sample["subject"], sample["prompt"]) for sample in samples] == [
        ("anatomy", "harness: Pick 1"),
        ("virology", "harness: Pick 2"),
        ("anatomy", "harness: Pick 3"),
    ]
    assert [sample["extracted"] for sample in samples] == ["B", "B", "B"]
    assert [sample["correct"] for sample in samples] == [True, False, False]
    assert samples[0]["scores"] == [-4.0, -1.0, -2.0, -3.0]
    assert calls[0]["gen_kwargs"] is None


def test_what_the_harness_does_not_run_is_refused(calls):
    for task in (Task("data", "answer", [], {}), Task("gsm8k", "answer", [], {}, plain=False)):
        with pytest.raises(UsageError, match="does not run task"):
            check_harness(task)
    check_harness(Task("mmlu", "likelihood", [], {}, plain=True))


def test_without_the_harness_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(LoraparError, match="needs lm-evaluation-harness"):
        check_harness(Task("mmlu", "likelihood", [], {}, plain=True))
