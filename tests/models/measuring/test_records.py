"""Losses and answers of records by system, in one process and divided over two."""

from dataclasses import dataclass

import pytest

from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.generation import Completion, Decoding, complete_batch
from lorapar_cli.models.measuring import records as records_module
from lorapar_cli.models.measuring.forgetting import record_losses
from lorapar_cli.models.measuring.records import UNLABELLED, Answering, encode_set
from lorapar_cli.models.measuring.written import base_completions
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.rendering.encoding import encode_records
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.store.records import Record


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture(scope="module")
def model(base):
    return load_base(base, "float32").eval()


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


def make(tokenizer, records, match="exact", limit=None):
    systems = [record.label or UNLABELLED for record in records]
    return encode_set(tokenizer, records, systems, limit, Answering(match, 6, 3))


def test_losses_are_those_of_the_records_by_system(model, tokenizer, labelled_records):
    found = make(tokenizer, labelled_records).losses(model)
    every = record_losses(model, encode_records(tokenizer, labelled_records), 0)
    for system in ("system1", "system2"):
        own = [n for n, record in enumerate(labelled_records) if record.label == system]
        assert found[system] == pytest.approx([every[n] for n in own], rel=1e-6)


def test_an_answer_is_right_where_the_model_writes_it(model, tokenizer):
    prompts = [f"Say {n}" for n in range(4)]
    written = [
        complete_batch(model, tokenizer, [encode_prompt(tokenizer, text)], Decoding(6))[0].text
        for text in prompts
    ]
    right = [Record(f"r{n}", prompts[n], written[n], label="system1") for n in range(3)]
    wrong = Record("w", prompts[3], written[3] + "?", label=None)
    found = make(tokenizer, [wrong, *right]).answers(model)
    assert found == {UNLABELLED: [0], "system1": [1, 1, 1]}


@pytest.mark.parametrize(("finished", "right"), [(True, 1), (False, 0)])
def test_a_thought_that_was_truncated_is_no_answer(base, model, monkeypatch, finished, right):
    def complete(model, tokenizer, prompts, *_, **__):
        return [Completion("so it is 4", 6, finished) for _ in prompts]

    monkeypatch.setattr(records_module, "complete_batch", complete)
    template = ChatTemplate(
        "{% for m in messages %}{{ m.content }}{{ eos_token if m.role == 'assistant' }}{% endfor %}"
        "{% if add_generation_prompt %}<think>{% endif %}"
    )
    record = Record("a", "2+2?", "4", reference_answer="4", label="system1")
    found = make(load_tokenizer(base, template=template), [record], "answer").answers(model)
    assert found == {"system1": [right]}


def test_records_without_a_reference_are_not_asked(model, tokenizer):
    records = [Record("a", "Q", "A"), Record("b", "Q", "A", reference_answer="A")]
    assert make(tokenizer, records, "answer").answers(model) == {UNLABELLED: [0]}
    assert encode_set(tokenizer, records, ["x", "x"], None, None).answers(model) == {}


def test_records_beyond_the_positions_are_left_out_and_counted(tokenizer):
    records = [Record("a", "Q", "A"), Record("b", "Q" * 40, "A")]
    found = make(tokenizer, records, limit=20)
    assert (len(found.encoded), found.too_long) == (1, 1)


@dataclass(frozen=True)
class Half(Processes):
    """One of two processes, without the other: what it has not computed stays zero."""

    def complete(self, values, device):
        return list(values)

    def merge(self, found):
        return found


def test_processes_divide_the_batches_and_add_up_to_the_whole(model, tokenizer, labelled_records):
    asked = make(tokenizer, labelled_records)
    whole, halves = asked.losses(model), [asked.losses(model, Half(rank, 2)) for rank in (0, 1)]
    for system, losses in whole.items():
        first, second = (half[system] for half in halves)
        assert [a + b for a, b in zip(first, second, strict=True)] == losses
    prompts = [encode_prompt(tokenizer, record.prompt) for record in labelled_records]
    written = [
        base_completions(
            model,
            tokenizer,
            prompts,
            max_length=None,
            max_new_tokens=4,
            batch_size=5,
            seed=1,
            processes=processes,
        )
        for processes in (Processes(0, 1), Half(0, 2), Half(1, 2))
    ]
    one, first, second = ([tuple(each.input_ids) for each in part] for part in written)
    assert sorted(first + second) == sorted(one)
    assert first
    assert second
