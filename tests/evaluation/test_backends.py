"""Every model completes what the journal lacks, each process its share."""

from typing import get_args

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.backends import LOADERS, check_backend, predict_all
from lorapar_cli.evaluation.forgetting import ForgettingOfModels
from lorapar_cli.evaluation.options import Backend, EvalOptions
from lorapar_cli.evaluation.predict import prepare_prompts
from lorapar_cli.evaluation.sample_journal import SampleJournal
from lorapar_cli.evaluation.tasks.task import Item, Task
from lorapar_cli.models.base_model import find_base_model, load_tokenizer
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.placement import WHOLE

OPTIONS = EvalOptions(max_new_tokens=3, batch_size=2)
TASK = Task("data", "exact", [Item(f"q{n}", "x" * n, "1") for n in range(1, 6)], {})


@pytest.fixture
def predict(tiny_model_dir, adapters):
    """Returns a function from a journal's folder to the keys that are completed, in order."""
    base = find_base_model(str(tiny_model_dir))
    predictor = prepare_prompts(TASK, OPTIONS, load_tokenizer(base), base.max_length, None)
    models = {"base": None, "mine": adapters["sft"]}

    def call(folder, rank=0, count=1):
        journal = SampleJournal(folder, rank)
        known, events = set(journal.known), []
        processes = Processes(rank, count)
        nothing = ForgettingOfModels(None, compared=True)
        seconds = predict_all(
            predictor, models, base, OPTIONS, WHOLE, journal, nothing, processes, events.append
        )
        assert list(seconds) == ["base", "mine"]
        return [key for key in journal.known if key not in known], events

    return call


def test_every_backend_has_a_loader():
    assert set(LOADERS) == set(get_args(Backend))


def test_models_come_one_after_the_other_and_tell_how_far_they_are(predict, tmp_path):
    keys, events = predict(tmp_path)
    assert [name for name, _, _ in keys] == ["base"] * 5 + ["mine"] * 5
    assert {item for _, item, _ in keys} == {item.id for item in TASK.items}
    assert [(event.task, event.done, event.total) for event in events] == [
        (f"eval {name}", done, 5) for name in ("base", "mine") for done in (0, 2, 4, 5)
    ]
    keys, events = predict(tmp_path)
    assert keys == []
    assert events[-1].done == 5


def test_processes_share_the_batches(predict, tmp_path):
    first, events = predict(tmp_path, rank=0, count=2)
    second, _ = predict(tmp_path, rank=1, count=2)
    assert len(first) == 2 * 3
    assert len(second) == 2 * 2
    assert not set(first) & set(second)
    assert events[-1].total == 3


def test_a_batch_that_is_not_whole_is_completed_again(predict, tmp_path):
    predict(tmp_path)
    lines = (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_text("".join(lines[:-2]))
    journal = SampleJournal(tmp_path)
    assert len(journal.known) == 8
    predict(tmp_path)
    assert (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True) == [
        *lines[:-2],
        *lines[-3:],
    ]


def test_backends_are_checked_before_any_work():
    check_backend("transformers", Task("mmlu", "likelihood", [], {}))
    with pytest.raises(UsageError, match="does not compare likelihoods"):
        check_backend("vllm", Task("mmlu", "likelihood", [], {}))
    with pytest.raises(LoraparError, match="--backend lm-eval"):
        check_backend("lm-eval", TASK)
