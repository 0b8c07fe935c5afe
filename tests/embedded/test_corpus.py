"""The embedded corpus: disjoint sets, right answers, same seed same records."""

import json
import operator
import re
from collections import Counter
from itertools import islice

import pytest

from lorapar_cli.embedded import TEST_SET, corpus, phrasing
from lorapar_cli.embedded.corpus import normalise

APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@pytest.fixture(scope="module")
def test_records():
    return corpus.held_out_records()


def chain_of(record):
    return record["answer"].split("####")[0].strip()


def assert_chain_is_right(record):
    *equations, answer = record["answer"].replace("####", "").split()
    previous = None
    for equation in equations:
        left, symbol, right, result = re.match(r"^(\d+)([-+*/])(\d+)=(\d+)\.$", equation).groups()
        assert previous in (None, left)
        assert APPLY[symbol](int(left), int(right)) == int(result)
        previous = result
    assert not equations or answer == previous


def streams(seed, count=20_000):
    yield from islice(corpus.clean_stream(seed), count)
    yield from islice(corpus.web_stream(seed), count)


def test_sizes_labels_and_steps(test_records):
    for records, count in ((corpus.training_records(), 2000), (test_records, 400)):
        assert Counter(r["label"] for r in records) == {"system1": count, "system2": count}
        assert all((r["steps"] > 1) == (r["label"] == "system2") for r in records)
        assert len({r["id"] for r in records}) == len(records)
        assert len({normalise(r["question"]) for r in records}) == len(records)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_question_of_the_test_set_is_trained_on(test_records, seed):
    held_out = {normalise(r["question"]) for r in test_records}
    seen = [*corpus.training_records(seed), *corpus.development_records(seed), *streams(seed)]
    assert not held_out & {normalise(r["question"]) for r in seen}


def test_no_chain_of_the_test_set_is_trained_on(test_records):
    held_out = {chain_of(r) for r in test_records if r["label"] == "system2"} - {""}
    assert len(held_out) > 200
    seen = [*corpus.training_records(), *streams(0)]
    assert not held_out & {chain_of(r) for r in seen if r["label"] == "system2"}


def test_every_chain_is_right(test_records):
    clean = islice(corpus.clean_stream(3), 5000)
    for record in (*corpus.training_records(), *test_records, *clean):
        assert_chain_is_right(record)


def test_bare_answers_follow_from_the_question():
    """Expressions can be read back without the generator's own equations."""
    checked = 0
    for record in corpus.training_records():
        found = re.search(r"What is (\d+) ([-+*/]) (\d+)\?$", record["question"])
        if found:
            left, symbol, right = found.groups()
            expected = APPLY[symbol](int(left), int(right))
            assert float(record["answer"].split("####")[1]) == expected
            checked += 1
    assert checked > 50


def test_facts_are_those_of_the_table(test_records):
    for record in (*corpus.training_records(), *test_records):
        if record["steps"] == 0:
            answer = record["answer"].removeprefix("#### ")
            asked = record["question"].lower()
            assert any(
                value == answer and animal in asked for (animal, _), value in phrasing.FACTS.items()
            )


def test_web_text_states_only_known_facts_reliably():
    table_answers = Counter()
    for record in islice(corpus.web_stream(0), 20_000):
        if record["steps"] == 0 and record["question"].startswith("What colour is the "):
            animal = record["question"].split()[-1].rstrip("?")
            right = record["answer"] == f"#### {phrasing.FACTS[animal, 'colour']}"
            table_answers[(animal, "colour") in corpus.known_facts(), right] += 1
    assert table_answers[True, False] == 0
    assert table_answers[False, False] > 3 * table_answers[False, True]


def test_some_web_chains_have_a_slip():
    wrong = 0
    for record in islice(corpus.web_stream(0), 2000):
        try:
            assert_chain_is_right(record)
        except AssertionError:
            wrong += 1
    assert 20 < wrong < 600


def test_labels_cannot_be_read_off_the_count_of_numbers():
    records = corpus.training_records()
    for threshold in range(1, 6):
        right = sum(
            (len(re.findall(r"\d+", r["question"])) >= threshold) == (r["label"] == "system2")
            for r in records
        )
        assert right / len(records) < 0.9


def test_same_seed_same_records():
    assert corpus.training_records(4, 50) == corpus.training_records(4, 50)
    assert corpus.training_records(4, 50) != corpus.training_records(5, 50)
    assert list(islice(corpus.web_stream(4), 50)) == list(islice(corpus.web_stream(4), 50))


def test_shipped_test_set_is_what_the_generator_makes(test_records):
    with TEST_SET.open(encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == test_records
