"""Asking against a server on loopback that does everything a provider does."""

import re
import time

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.rate_limit import Clock
from tests.labelling.classify_parts import (
    FAST,
    ask,
    estimate_cost,
    expected_labels,
    labels_of,
    requests_to,
    run_classify,
    running_server,
    write_questions,
    write_teachers,
)


def test_faults_of_every_kind_change_no_label_and_no_question_is_billed_twice(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1000)
    with running_server(fault_share=0.25) as server:
        outcome = ask(tmp_path / "run", data, server, "abc", concurrency=16)
        stats = server.stats()
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "abc")
    assert len(stats["billed"]) == 3000
    assert set(stats["billed"].values()) == {1}
    counts = outcome.manifest.counts["teachers"]
    assert sum(row["too_many_requests"] for row in counts.values()) > 50
    assert sum(row["retries"] for row in counts.values()) > 300
    assert all(row["no_vote"] == 0 for row in counts.values())


def test_retry_after_is_honoured_beyond_the_limits_of_the_sdk(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 12)
    with running_server(fault_share=1.0, faults={"429-after": 1}) as server:
        started = time.monotonic()
        outcome = ask(tmp_path / "run", data, server, "a", concurrency=4)
        seconds = (time.monotonic() - started) * FAST.speed
        stats = server.stats()
    # Each question is refused once; those refused together wait together, 150 s at a time.
    assert seconds > 150
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    assert stats["requests"] == {"model-a": 24}
    assert outcome.manifest.counts["teachers"]["a"]["too_many_requests"] == 12


@pytest.mark.parametrize(
    ("status", "said"), [(429, "too many requests (429)"), (503, "server error 503")]
)
def test_a_teacher_that_only_ever_says_later_is_given_up_after_a_long_patience(
    tmp_path, status, said
):
    data = write_questions(tmp_path / "data.jsonl", 4)
    options = {"concurrency": 1, "clock": Clock(speed=1000), "retries": 1}
    with running_server(refuses_after={"model-a": 0}, refuses_with=status, later="15") as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", **options)
        assert f"{said}, 11 times in a row" in error.value.found
        assert requests_to(server) >= 11


def test_an_endpoint_that_suddenly_rejects_everything_is_down_and_no_vote_is_invented(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 80)
    with running_server(refuses_after={"model-a": 30}) as server:
        with pytest.raises(LoraparError, match="not every teacher answered") as error:
            ask(tmp_path / "run", data, server, "a", concurrency=4)
        assert "`a`: 30 of 80 questions answered, then it failed: rejected (400)" in (
            error.value.found
        )
        assert requests_to(server) < 30 + 20 + 4


def test_an_endpoint_without_credit_is_asked_nothing_more(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 80)
    with running_server(refuses_after={"model-a": 10}, refuses_with=402) as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", concurrency=2)
        assert "out of credit (402)" in error.value.found
        assert requests_to(server) <= 12


def test_an_endpoint_that_takes_few_requests_at_a_time_is_found_out(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 400)
    with running_server(capacity=4, delay=0.02) as server:
        outcome = ask(tmp_path / "run", data, server, "a", concurrency=32)
        requests = requests_to(server)
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    print(f"{requests - 400} of {requests} requests were too many")
    # Without adaptation seven of eight would be.
    assert requests < 2 * 400


def test_money_is_counted_and_max_cost_is_never_exceeded(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 100)
    # An answer costs 100 * 10 / 1e6 + 10 * 100 / 1e6 = 0.002 dollars.
    with running_server() as server:
        mine = write_teachers(tmp_path / "mine.yaml", server)
        plan = estimate_cost(tmp_path / "run", data, "ab", teachers_file=mine)
        with pytest.raises(LoraparError, match=r"before exceeding `--max-cost 0\.3`"):
            run_classify(tmp_path / "run", data, "ab", teachers_file=mine, max_cost=0.3)
        answers = sum(server.stats()["billed"].values())
        again = run_classify(tmp_path / "run", data, "ab", teachers_file=mine, max_cost=0.6)
        billed = server.stats()["billed"]
    # A question is only asked while its worst case, 0.1 dollars for the answer, still fits.
    assert 0.3 - 0.15 < answers * 0.002 <= 0.3
    assert plan.rows["a"]["questions"] == plan.rows["b"]["questions"] == 100
    assert set(billed.values()) == {1}
    assert again.manifest.metrics["cost"] == pytest.approx(200 * 0.002)
    rows = again.manifest.counts["teachers"]
    assert rows["a"]["prompt_tokens"] == 100 * 100
    assert rows["a"]["cost"] == pytest.approx(0.2)
    assert again.manifest.counts["requests_saved"]["journal"] == answers


def test_progress_is_told_for_each_teacher_with_rate_retries_cost_and_time_left(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 30)
    told = []
    with running_server() as server:
        mine = write_teachers(tmp_path / "mine.yaml", server)
        run_classify(tmp_path / "run", data, "ab", teachers_file=mine, progress=told.append)
    for name in "ab":
        mine = [event for event in told if event.task == name]
        assert [event.done for event in mine] == list(range(1, 31))
        assert {event.total for event in mine} == {30}
        figures = " | ".join(mine[-1].figures)
        assert re.fullmatch(r"[\d.]+/s \| 0 retries \| \$0.0600 \| 0:00 left", figures)


def test_no_more_requests_are_in_flight_than_allowed(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(delay=0.01) as server:
        ask(tmp_path / "run", data, server, "a", concurrency=5)
        assert server.stats()["most_flying"] == 5
