"""Two evaluations side by side, against counting by hand."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.intervals import mcnemar_exact
from lorapar_cli.evaluation.review.pair import compare_evaluations
from lorapar_cli.evaluation.review.read import read_evaluation
from tests.evaluation.review.finished import sample, write_evaluation


@pytest.fixture
def evaluation(tmp_path):
    """Returns a function from samples and settings to an evaluation."""
    count = iter(range(99))

    def call(samples, **settings):
        return read_evaluation(write_evaluation(tmp_path / str(next(count)), samples, **settings))

    return call


def test_second_minus_first_by_record_and_by_system(evaluation):
    before, after = [True, False, False, False, True], [False, True, True, False, True]
    first, second = (
        evaluation([sample(n, v, system=f"system{1 + n // 3}") for n, v in enumerate(right)])
        for right in (before, after)
    )
    comparison = compare_evaluations(first, second, None, anyway=False)
    (pair,) = comparison.pairs
    assert (pair["n"], pair["first"], pair["second"]) == (5, 2, 3)
    assert pair["difference"] == pytest.approx(0.2)
    assert (pair["only_first"], pair["only_second"]) == (1, 2)
    assert (pair["only_first_ids"], pair["only_second_ids"]) == (["0"], ["1", "2"])
    assert pair["p_value"] == mcnemar_exact(1, 2)
    assert pair["interval"][0] < 0.2 < pair["interval"][1]
    assert [pair["by_system"][s]["n"] for s in ("system1", "system2")] == [3, 2]
    assert pair["by_system"]["system1"]["difference"] == pytest.approx(1 / 3)
    assert [each.first["id"] for each in comparison.changed[0]] == ["0", "1", "2"]
    assert comparison.notes == []


def test_order_of_records_makes_no_difference(evaluation):
    samples = [sample(n, n < 2) for n in range(4)]
    found = compare_evaluations(evaluation(samples), evaluation(samples[::-1]), None, False)
    assert found.pairs[0]["only_first_ids"] == found.pairs[0]["only_second_ids"] == []


def test_of_several_draws_the_first_counts(evaluation):
    samples = [sample(1, False), sample(1, True, draw=1)]
    found = compare_evaluations(evaluation(samples), evaluation(samples), None, False)
    assert found.pairs[0]["first"] == 0


def test_models_by_name(evaluation):
    first = evaluation([sample(1, False, "base"), sample(1, False, "sft")])
    second = evaluation([sample(1, True, "sft"), sample(1, True, "rl")])
    (pair,) = compare_evaluations(first, second, None, False).pairs
    assert (pair["first_model"], pair["second_model"]) == ("sft", "sft")
    (pair,) = compare_evaluations(first, second, [("base", "rl")], False).pairs
    assert (pair["first_model"], pair["second_model"], pair["difference"]) == ("base", "rl", 1.0)
    with pytest.raises(UsageError, match="`rl` was not evaluated"):
        compare_evaluations(first, second, [("rl", "rl")], False)
    with pytest.raises(UsageError, match="no model in common"):
        compare_evaluations(first, evaluation([sample(1, True, "x")]), None, False)


def test_other_test_sets_are_refused_with_what_could_be_paired(evaluation):
    first = evaluation([sample(n, True) for n in "abcd"])
    second = evaluation(
        [
            sample("a", False),
            sample("b", False, question="another"),
            sample("c", False, reference="7"),
            sample("e", False),
        ]
    )
    with pytest.raises(LoraparError, match="different test sets") as raised:
        compare_evaluations(first, second, None, anyway=False)
    assert raised.value.found == (
        "1 item could be paired; 1 is only in the first, 1 only in the second; "
        "1 has one id and another question, such as `b`; "
        "1 has one id and another reference, such as `c`"
    )
    assert "the 1 common one with `--anyway`" in raised.value.hint
    found = compare_evaluations(first, second, None, anyway=True)
    assert (found.pairs[0]["n"], found.pairs[0]["only_first_ids"]) == (1, ["a"])
    assert found.notes == [raised.value.found]


def test_where_nothing_can_be_paired_there_is_no_way(evaluation):
    first, second = evaluation([sample("a", True)]), evaluation([sample("b", True)])
    for anyway in (False, True):
        with pytest.raises(LoraparError, match="different test sets") as raised:
            compare_evaluations(first, second, None, anyway)
        assert raised.value.hint is None


def test_other_settings_are_refused_by_name(evaluation):
    samples = [sample(1, True)]
    first, second = evaluation(samples), evaluation(samples, num_fewshot=5, match="exact")
    with pytest.raises(LoraparError, match="in different ways") as raised:
        compare_evaluations(first, second, None, anyway=False)
    assert raised.value.found == (
        "match: 'answer' in the first, 'exact' in the second\n"
        "num_fewshot: 0 in the first, 5 in the second"
    )
    assert len(compare_evaluations(first, second, None, anyway=True).notes) == 2
    # Another model is what a comparison is for.
    other = evaluation(samples, base_model={"id": "other", "revision": None}, backend="vllm")
    assert compare_evaluations(first, other, None, anyway=False).notes == []


def test_samples_without_digests_are_compared_by_prompt(evaluation):
    old = [{k: v for k, v in sample(1, True).items() if k != "question"}]
    new = [sample(1, False)]
    assert compare_evaluations(evaluation(old), evaluation(new), None, False).pairs[0]["n"] == 1
    changed = [new[0] | {"prompt": "Another?"}]
    with pytest.raises(LoraparError, match="different test sets"):
        compare_evaluations(evaluation(old), evaluation(changed), None, False)
