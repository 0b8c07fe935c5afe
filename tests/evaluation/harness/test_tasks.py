"""Examples that are never the question itself, on a stand-in for the harness's tasks."""

import sys
from types import SimpleNamespace

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.harness.tasks import never_show_the_question, require_harness


class Sampler:
    """Shows the first rows, whatever the question is."""

    def __init__(self, rows):
        self.rows = rows

    def fewshot_docs(self):
        return self.rows

    def sample(self, n, eval_doc=None):
        return self.rows[:n]


@pytest.fixture
def shown():
    """Returns a function from a pool, a question and n to the examples that a task shows."""

    def call(pool, question, n, **config):
        def build(doc, n):
            return [row["q"] for row in task.sampler.sample(n=n, eval_doc=None)]

        task = SimpleNamespace(
            sampler=Sampler([{"q": each} for each in pool]),
            fewshot_context=build,
            doc_to_text=lambda doc: doc["q"],
            config=SimpleNamespace(doc_to_choice=None),
        )
        never_show_the_question("toy", task)
        return task.fewshot_context({"q": question}, n)

    return call


def test_a_choice_without_the_question_stays(shown):
    assert shown(["a?", "b?", "c?"], "c?", 2) == ["a?", "b?"]


def test_the_question_is_replaced_in_any_spelling(shown):
    for _ in range(2):
        found = shown(["A ?", "b?", "c?", "d?"], "a?", 3)
        assert sorted(found) == ["b?", "c?", "d?"]


def test_too_few_other_questions_are_an_error(shown):
    with pytest.raises(LoraparError, match="`toy` has 1 example besides the question itself"):
        shown(["a?", "b?"], "a?", 2)


def test_without_the_harness_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(LoraparError, match="needs lm-evaluation-harness"):
        require_harness()
