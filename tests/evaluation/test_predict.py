"""Prompts as tokens and batches: truncation, room for completions, random streams."""

from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.predict import PromptBatch, prepare_prompts
from lorapar_cli.evaluation.tasks.task import Item, Task
from lorapar_cli.models.generation import Completion
from tests.conftest import build_tokenizer

OPTIONS = EvalOptions(max_new_tokens=4, batch_size=2, samples=2, temperature=1.0)


def task(*lengths: int, plain: bool = True) -> Task:
    items = [Item(str(n), "x" * length, "1") for n, length in enumerate(lengths)]
    return Task("data", "exact", items, {}, plain=plain)


class Recorder:
    """Completes every prompt with its length and remembers what it was given."""

    def __init__(self):
        self.calls = []

    def complete(self, prompts, decoding, seed):
        self.calls.append((prompts, decoding, seed))
        return [Completion(str(len(prompt)), 1, True) for prompt in prompts]


def test_batches_depend_on_lengths_and_come_draw_by_draw():
    predictor = prepare_prompts(task(3, 9, 5), OPTIONS, build_tokenizer(), 512, None)
    assert [len(prompt) for prompt in predictor.prompts] == [3, 9, 5]
    assert predictor.batches == [
        PromptBatch(0, 0, [1, 2]),
        PromptBatch(1, 0, [0]),
        PromptBatch(0, 1, [1, 2]),
        PromptBatch(1, 1, [0]),
    ]


@pytest.mark.parametrize(("finished", "right"), [(True, True), (False, False)])
def test_a_thought_that_was_truncated_has_no_answer(finished, right):
    class Thinker:
        def complete(self, prompts, decoding, seed):
            return [Completion("so it is 1", 5, finished) for _ in prompts]

    tokenizer = build_tokenizer("{{ messages[0].content }}<think>\n")
    asked = replace(task(3, plain=False), match="answer")
    predictor = prepare_prompts(asked, OPTIONS, tokenizer, 512, None)
    (sample,) = predictor.predict("base", Thinker(), predictor.batches[0])
    assert (sample["completion"], sample["correct"]) == ("so it is 1", right)


def test_the_harness_gets_everything_at_once():
    options = replace(OPTIONS, backend="lm-eval", samples=1, temperature=0.0)
    predictor = prepare_prompts(task(3, 9, 5), options, build_tokenizer(), 512, None)
    (batch,) = predictor.batches
    assert sorted(batch.indices) == [0, 1, 2]


def test_plain_prompts_are_truncated_from_the_left():
    tokenizer = build_tokenizer()
    items = [Item(str(n), text, "1") for n, text in enumerate(("abcdefgh", "abcdefg", "abcdef"))]
    predictor = prepare_prompts(
        replace(task(), items=items), replace(OPTIONS, max_new_tokens=4), tokenizer, 10, None
    )
    assert [tokenizer.decode(prompt) for prompt in predictor.prompts] == [
        *("cdefgh", "bcdefg", "abcdef")
    ]
    assert predictor.truncated == 2


def test_without_known_positions_nothing_is_truncated():
    predictor = prepare_prompts(task(900), OPTIONS, build_tokenizer(), None, None)
    assert (len(predictor.prompts[0]), predictor.truncated) == (900, 0)
    recorder = Recorder()
    predictor.predict("base", recorder, predictor.batches[0])
    assert recorder.calls[0][1].max_new_tokens == 4


def test_a_prompt_through_the_template_is_never_truncated():
    with pytest.raises(LoraparError, match="the prompt of `0` leaves no room"):
        prepare_prompts(task(20, plain=False), OPTIONS, build_tokenizer(), 20, None)


def test_completions_end_where_the_models_positions_do():
    recorder = Recorder()
    predictor = prepare_prompts(
        task(4, plain=False), replace(OPTIONS, max_new_tokens=100), build_tokenizer(), 20, None
    )
    (sample,) = predictor.predict("base", recorder, predictor.batches[0])
    prompts, decoding, _ = recorder.calls[0]
    assert decoding.max_new_tokens == 20 - len(prompts[0])
    assert sample["completion"] == str(len(prompts[0]))
    assert (sample["tokens"], sample["finished"]) == (1, True)


def test_each_model_draw_and_batch_has_a_random_stream_of_its_own():
    predictor = prepare_prompts(task(3, 9, 5), OPTIONS, build_tokenizer(), 512, None)
    other = replace(predictor, seed=1)
    recorder = Recorder()
    for one, name in ((predictor, "base"), (predictor, "sft"), (other, "base")):
        for batch in one.batches:
            one.predict(name, recorder, batch)
    seeds = [seed for _, _, seed in recorder.calls]
    assert len(set(seeds)) == len(seeds) == 12
    # As it has been since the first release: another stream would mean other results.
    assert seeds[0] == 0xAE123224DE2801
