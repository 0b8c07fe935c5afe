"""Runs tasks through lm-evaluation-harness (extra `harness`): the same model and data, its own code.

The harness builds the prompts, runs the model and grades by its own task files. The result has the
form of our samples, with the harness's grade as `correct_strict` (gsm8k) or `correct` (mmlu), so that
both sides can be compared sample by sample.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import UsageError
from lorapar_cli.evaluation.harness.tasks import require_harness
from lorapar_cli.evaluation.sample_journal import Sample, describe_sample
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.task import Item, Task, grade_items
from lorapar_cli.grading.grade import Grade
from lorapar_cli.models.base_model import transformers_model

TASKS = ("gsm8k", "mmlu")
_INVALID = "[invalid]"
Found = dict[str, Any]
"""One of the harness's logged samples."""


def check_harness(task: Task) -> None:
    """Checks that the harness is installed and has this task in this style.

    Raises:
        LoraparError, UsageError: It is not, or does not.
    """
    require_harness()
    if task.name not in TASKS or not task.plain:
        raise UsageError(
            f"`--backend lm-eval` does not run task `{task.name}` in this style",
            hint="give `--task gsm8k --style harness`, `--task mmlu`, or other names of its tasks",
        )


def predict_with_harness(
    task: Task,
    name: str,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    max_new_tokens: int,
) -> list[Sample]:
    """Returns the graded samples of the model of that name, greedy, in the items' order."""
    quiet = contextlib.redirect_stdout(sys.stderr)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Its evaluation would otherwise fetch a table of metrics from the network.
    os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")
    with quiet:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        found = simple_evaluate(
            model=HFLM(
                pretrained=transformers_model(model), tokenizer=tokenizer, batch_size=batch_size
            ),
            tasks=_load_gsm8k(task) if task.name == "gsm8k" else _load_mmlu(task),
            num_fewshot=task.num_fewshot,
            log_samples=True,
            bootstrap_iters=0,
            gen_kwargs=f"max_gen_toks={max_new_tokens}" if task.name == "gsm8k" else None,
        )["samples"]
    by_item: dict[tuple[str, int], dict[str, Found]] = {}
    for harness_task, logged in found.items():
        for one in logged:
            by_item.setdefault((harness_task, one["doc_id"]), {})[one["filter"]] = one
    samples = []
    counts: dict[str, int] = {}
    for item in task.items:
        harness_task = f"mmlu_{item.groups['subject']}" if task.name == "mmlu" else "gsm8k"
        number = counts.get(harness_task, 0)
        counts[harness_task] = number + 1
        describe = _describe_gsm8k if task.name == "gsm8k" else _describe_mmlu
        samples.append(describe(name, item, by_item[harness_task, number]))
    return samples


def load_harness_task(
    name: str, file: str, rows: dict[str, list[dict[str, Any]]], **changes: Any
) -> Any:
    """Returns the harness's task of one of its own files, on these rows.

    Args:
        file: Inside the harness's folder of tasks.
        rows: Split -> its rows.
        changes: Of the file's settings.
    """
    import lm_eval
    import yaml
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    text = (Path(lm_eval.__file__).parent / "tasks" / file).read_text(encoding="utf-8")
    config = yaml.safe_load(text) | changes | {"task": name}
    for key in ("tag", "dataset_name", "dataset_path"):
        config.pop(key, None)
    # A split that is not used must still have the fields.
    filled = {split: Dataset.from_list(own or rows["test"]) for split, own in rows.items()}
    read: Callable[..., dict] = lambda **_: filled  # noqa: E731
    return ConfigurableTask(config=config | {"custom_dataset": read})


def _load_gsm8k(task: Task) -> list[Any]:
    rows = {"train": task.examples, "test": task.questions}
    changes = _choose_examples(task.shown) if task.redrawn else {}
    return [load_harness_task("gsm8k", "gsm8k/gsm8k.yaml", rows, **changes)]


def _load_mmlu(task: Task) -> list[Any]:
    """Returns a task for each subject."""
    tasks = []
    shown: dict[str, list[list[dict[str, Any]]]] = {}
    for row, examples in zip(task.questions, task.shown, strict=True):
        shown.setdefault(row["subject"], []).append([_mmlu_row(each) for each in examples])
    for subject, examples_of_each in shown.items():
        rows = {
            split: [_mmlu_row(row) for row in own if row["subject"] == subject]
            for split, own in (("dev", task.examples), ("test", task.questions))
        }
        tasks.append(
            load_harness_task(
                f"mmlu_{subject}",
                "mmlu/default/_default_template_yaml",
                rows,
                description=mmlu.describe_task(subject),
                **(_choose_examples(examples_of_each) if task.redrawn else {}),
            )
        )
    return tasks


def _choose_examples(shown: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the settings by which the harness shows these examples, instead of its own choice.

    Args:
        shown: Of each question in order, as the harness builds its prompts.
    """
    from lm_eval.api.samplers import ContextSampler

    left = iter(shown)

    class Chosen(ContextSampler):
        """Examples that are known beforehand."""

        def sample(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
            return next(left)

    return {"fewshot_config": {"sampler": Chosen}}


def _mmlu_row(row: dict[str, Any]) -> dict[str, Any]:
    index = mmlu.LETTERS.index(mmlu.answer_letter(row))
    return {"question": row["question"], "choices": row["choices"], "answer": index}


def _describe_gsm8k(name: str, item: Item, by_filter: dict[str, Found]) -> Sample:
    strict = by_filter["strict-match"]
    completion = strict["resps"][0][0]
    found = strict["filtered_resps"][0]
    grade = grade_items("answer", [item], [completion])[0] | {
        "extracted_strict": None if found == _INVALID else found,
        "correct_strict": bool(strict["exact_match"]),
    }
    prompt = strict["arguments"][0][0]
    return describe_sample(name, item, 0, completion, grade) | {"prompt": prompt}


def _describe_mmlu(name: str, item: Item, by_filter: dict[str, Found]) -> Sample:
    (found,) = by_filter.values()
    scores = [float(response[0]) for response in found["filtered_resps"]]
    grade: Grade = {
        "extracted": item.choices[scores.index(max(scores))].strip(),
        "correct": bool(found["acc"]),
    }
    return describe_sample(name, item, 0, "", grade) | {
        "prompt": found["arguments"][0][0],
        "scores": [round(score, 6) for score in scores],
    }
