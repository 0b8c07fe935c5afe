"""Classify against a server on loopback that does everything a provider does."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
import time
import traceback

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.rate_limit import Clock, ConcurrencyLimit
from lorapar_cli.store.run_dir import RunDir
from tests.labelling.classify_parts import (
    expected_labels,
    labels_of,
    read_lines,
    running_server,
    write_questions,
)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_faults_of_every_kind_change_no_label_and_no_question_is_billed_twice(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1000)
    policy = RequestPolicy(concurrency=16, timeout=400, clock=Clock(speed=100))
    with running_server(fault_share=0.25) as server:
        outcome = classify(
            RunDir(tmp_path / "run"),
            data=str(data),
            teachers=[server.teacher(name) for name in "abc"],
            policy=policy,
        )
        stats = server.stats()
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "abc")
    assert len(stats["billed"]) == 3000
    assert set(stats["billed"].values()) == {1}
    counts = outcome.manifest.counts["teachers"]
    assert sum(row["too_many_requests"] for row in counts.values()) > 50
    assert sum(row["retries"] for row in counts.values()) > 300
    assert all(row["no_vote"] == 0 for row in counts.values())


FAST = Clock(speed=100)


def ask(folder, data, server, names, **options):
    policy = {"concurrency": 8, "timeout": 400, "clock": FAST} | options.pop("policy", {})
    return classify(
        RunDir(folder),
        data=str(data),
        teachers=[server.teacher(name) for name in names],
        policy=RequestPolicy(**policy),
        **options,
    )


def asked(server):
    return sum(server.stats()["requests"].values())


def test_retry_after_is_honoured_beyond_the_limits_of_the_sdk(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 12)
    with running_server(fault_share=1.0, faults={"429-after": 1}) as server:
        started = time.monotonic()
        outcome = ask(tmp_path / "run", data, server, "a", policy={"concurrency": 4})
        seconds = (time.monotonic() - started) * FAST.speed
        stats = server.stats()
    # Each question is refused once; those refused together wait together, 150 s at a time.
    assert seconds > 150
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    assert stats["requests"] == {"model-a": 24}
    assert outcome.manifest.counts["teachers"]["a"]["too_many_requests"] == 12


def test_concurrency_shrinks_on_429_and_never_passes_its_limit(tmp_path):
    clock = Clock(speed=1000)

    async def story():
        throttle = ConcurrencyLimit(16, clock, asyncio.Event())
        for _ in range(16):
            await throttle.enter()
        together = clock.now()
        for _ in range(16):
            throttle.slow_down(together - 1, wait=0)
            throttle.leave()
        shrunk = throttle.allowed
        for _ in range(8):
            throttle.succeeded()
        grown = throttle.allowed
        for _ in range(10_000):
            throttle.succeeded()
        return shrunk, grown, throttle.allowed

    # Sixteen requests that were refused together halve once; a round of successes adds one.
    shrunk, grown, full = asyncio.run(story())
    assert shrunk == 8
    assert grown == pytest.approx(9, abs=0.1)
    assert full == 16
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(delay=0.01) as server:
        ask(tmp_path / "run", data, server, "a", policy={"concurrency": 5})
        assert server.stats()["most_flying"] == 5


def test_a_teacher_that_dies_is_reported_and_the_run_goes_on_later(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(dead_after={"model-b": 20}) as server:
        with pytest.raises(LoraparError, match="not every teacher answered") as error:
            ask(tmp_path / "run", data, server, "abc", policy={"retries": 3})
        assert "`b`: 20 of 60 questions answered, then it failed: server error 500" in str(
            error.value
        )
        assert "--min-votes" in error.value.hint
        assert not (tmp_path / "run" / "classify" / "manifest.json").exists()
        before = server.stats()
        options = {"policy": {"retries": 1}, "min_votes": 2}
        quorum = ask(tmp_path / "run", data, server, "abc", **options)
        after = server.stats()
        first = (quorum.folder / "labels.jsonl").read_bytes()
        again = ask(tmp_path / "run", data, server, "abc", **options)
    # The two healthy teachers had answered everything; nobody is asked again but the dead one.
    assert before["billed"] == after["billed"]
    assert quorum.manifest.counts["records"] == 60
    assert any("teacher b answered 0 of 40" in note for note in quorum.manifest.notes)
    lines = read_lines(quorum.folder / "labels.jsonl")
    assert {len(line["votes"]) for line in lines} == {2, 3}
    # It is not up to date for ever: while the teacher is away all stays as it is, and once it is
    # back the same command asks what is missing, and nothing else.
    assert quorum.manifest.counts["unanswered"] == again.manifest.counts["unanswered"] == 40
    assert (again.folder / "labels.jsonl").read_bytes() == first
    with running_server() as server:
        back = ask(tmp_path / "run", data, server, "abc", **options)
        assert server.stats()["requests"] == {"model-b": 40}
        assert not ask(tmp_path / "run", data, server, "abc", **options).fresh
    assert back.manifest.counts["unanswered"] == 0
    assert labels_of(back.folder) == expected_labels(back.folder, "abc")


def test_an_earlier_result_survives_a_failed_run(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 30)
    with running_server() as server:
        good = ask(tmp_path / "run", data, server, "a")
        before = (good.folder / "labels.jsonl").read_bytes()
    with running_server(dead_after={"model-b": 5}) as server, pytest.raises(LoraparError):
        ask(tmp_path / "run", data, server, "ab", policy={"retries": 1})
    assert (good.folder / "labels.jsonl").read_bytes() == before
    # Answers of the failed run are in the journal all the same.
    assert len(read_lines(good.folder / "votes.jsonl")) == 35


@pytest.mark.parametrize(
    ("names", "on_tie", "fewest"),
    [("abcde", "system2", 3), ("abcd", "system2", 2), ("abcd", "drop", 3)],
)
def test_economy_gives_the_labels_of_full_voting_for_fewer_requests(
    tmp_path, names, on_tie, fewest
):
    data = write_questions(tmp_path / "data.jsonl", 100)
    with running_server() as server:
        full = ask(tmp_path / "full", data, server, names, on_tie=on_tie)
        everything = asked(server)
        thrifty = ask(tmp_path / "economy", data, server, names, on_tie=on_tie, economy=True)
        fewer = asked(server) - everything
    assert everything == 100 * len(names)
    assert labels_of(thrifty.folder) == labels_of(full.folder)
    saved = thrifty.manifest.counts["requests_saved"]["economy"]
    assert fewer == everything - saved
    assert saved > 50
    votes = [line["votes"] for line in read_lines(thrifty.folder / "labels.jsonl")]
    assert min(len(cast) for cast in votes) == fewest


def test_questions_that_a_dead_teacher_left_open_are_not_counted_as_saved(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    options = {"economy": True, "min_votes": 2, "policy": {"retries": 1}}
    with running_server(dead_after={"model-c": 3}) as server:
        outcome = ask(tmp_path / "run", data, server, "abc", **options)
    lines = [
        *read_lines(outcome.folder / "labels.jsonl"),
        *read_lines(outcome.folder / "heldout.jsonl"),
    ]
    agreed = sum(line["votes"]["a"] == line["votes"]["b"] for line in lines)
    assert 0 < agreed < 57
    assert outcome.manifest.counts["requests_saved"]["economy"] == agreed


def test_a_dry_run_of_economy_leaves_out_what_is_settled(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server() as server:
        ask(tmp_path / "run", data, server, "ab")
        plan = ask(tmp_path / "run", data, server, "abc", economy=True, dry_run=True)
        before = asked(server)
        ask(tmp_path / "run", data, server, "abc", economy=True)
        assert plan.rows["c"]["questions"] == asked(server) - before > 0
        plan = ask(tmp_path / "new", data, server, "abc", economy=True, dry_run=True)
    assert plan.rows["c"]["questions"] == 60
    assert any("economy" in note for note in plan.notes)


def test_only_what_an_answer_depends_on_asks_again(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    run_dir = tmp_path / "run"
    with running_server() as server, running_server() as moved:
        ask(run_dir, data, server, "a")
        assert asked(server) == 20
        unchanged = {
            "on_tie": "system1",
            "seed": 5,
            "holdout": 0.2,
            "limit": 10,
        }
        for name, value in unchanged.items():
            ask(run_dir, data, server, "a", **{name: value})
        lines = data.read_text(encoding="utf-8").splitlines()
        data.write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")
        ask(run_dir, data, server, "a")
        ask(run_dir, data, moved, "a")
        renamed = f"other=model-a@{server.url}"
        classify(
            RunDir(run_dir), data=str(data), teachers=[renamed], policy=RequestPolicy(clock=FAST)
        )
        assert (asked(server), asked(moved)) == (20, 0)
        ask(run_dir, data, server, "a", student="LLaMA2 7B")
        assert asked(server) == 40
        ask(run_dir, data, server, "a", role_play=False)
        assert asked(server) == 60
        ask(run_dir, data, server, "b")
        assert asked(server) == 80
        data.write_text("\n".join([lines[0].replace("\\n#### ", "\\n#### 1"), *lines[1:]]))
        ask(run_dir, data, server, "a", limit=2)
        assert asked(server) == 81


def priced(path, server, price="{input: 10, output: 100}"):
    lines = [f"  {name}:\n    base_url: {server.url}\n    model: model-{name}" for name in "ab"]
    priced_lines = [line + f"\n    price: {price}" for line in lines]
    path.write_text("teachers:\n" + "\n".join(priced_lines) + "\nscore:\n  rank: 8\n")
    return path


def test_money_is_counted_and_max_cost_is_never_passed(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 100)
    run_dir = RunDir(tmp_path / "run")
    # An answer costs 100 * 10 / 1e6 + 10 * 100 / 1e6 = 0.002 dollars.
    with running_server() as server:
        options = {
            "data": str(data),
            "teachers": ["a", "b"],
            "teachers_file": priced(tmp_path / "mine.yaml", server),
        }
        plan = classify(run_dir, dry_run=True, **options)
        with pytest.raises(LoraparError, match=r"`--max-cost 0\.3` was passed"):
            classify(run_dir, policy=RequestPolicy(max_cost=0.3), **options)
        answers = sum(server.stats()["billed"].values())
        again = classify(run_dir, policy=RequestPolicy(max_cost=0.6), **options)
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


@pytest.mark.parametrize("option", ["holdout", "share", "timeout", "max_cost"])
def test_a_number_that_is_none_is_refused(tmp_path, option):
    """A limit of nan dollars would never be reached."""
    nan = float("nan")
    mine = (
        {option: nan}
        if option in ("holdout", "share")
        else {"policy": RequestPolicy(**{option: nan})}
    )
    with pytest.raises(UsageError, match="nan"):
        classify(RunDir(tmp_path / "run"), data="x.jsonl", teachers=["rules-cues"], **mine)


def test_a_price_that_is_unknown_is_called_so(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 5)
    with running_server() as server:
        with pytest.raises(UsageError, match="--max-cost"):
            ask(tmp_path / "run", data, server, "a", policy={"max_cost": 1.0})
        assert not (tmp_path / "run").exists()
        outcome = ask(tmp_path / "run", data, server, "a")
        assert outcome.manifest.metrics["cost"] is None
        assert outcome.manifest.counts["teachers"]["a"]["cost"] is None
        plan = ask(tmp_path / "run", data, server, "ab", dry_run=True)
        mine = {
            "data": str(data),
            "teachers": ["a"],
            "teachers_file": priced(tmp_path / "p", server),
        }
        known = classify(RunDir(tmp_path / "run"), holdout=0.0, **mine)
        assert asked(server) == 5
    assert plan.rows["a"] | {"cost": 0} == {
        "questions": 0,
        "from_journal": 5,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0,
        "price_date": None,
    }
    # Answers from before the price was known are priced now.
    assert known.manifest.metrics["cost"] == pytest.approx(5 * 0.002)
    assert plan.rows["b"]["questions"] == 5
    assert plan.rows["b"]["cost"] is None
    assert any("no price is known for a, b" in note for note in plan.notes)


def test_a_dry_run_asks_and_writes_nothing_and_shows_the_prompt(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 50)
    with running_server() as server:
        options = {"student": "Tiny 1B", "student_description": "It was never trained on code."}
        plan = ask(tmp_path / "run", data, server, "a", dry_run=True, **options)
        assert asked(server) == 0
    assert not (tmp_path / "run").exists()
    system, user = plan.messages
    assert "You are Tiny 1B. It was never trained on code." in system["content"]
    first = read_first_record(data)
    assert first.prompt in user["content"]
    assert first.completion in user["content"]


def read_first_record(data):
    from lorapar_cli.data.readers import open_source

    return next(open_source(str(data)).records())


def test_questions_that_an_endpoint_refuses_are_no_votes_and_asked_again_later(tmp_path):
    data = tmp_path / "data.jsonl"
    rows = [{"question": f"{word}?", "answer": "#### 1"} for word in ("a", "bad", "c")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with running_server(refuse=["bad?"]) as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["refused"], counts["no_vote"], counts["asked"]) == (1, 1, 2)
    assert any("refused 1 questions: refused (400): too long" in n for n in outcome.manifest.notes)
    lines = {line["prompt"]: line for line in read_lines(outcome.folder / "labels.jsonl")}
    assert lines["bad?"]["votes"] == {"a": None}
    with running_server() as server:
        ask(tmp_path / "run", data, server, "a", holdout=0.0, seed=1)
        assert asked(server) == 1


def test_an_endpoint_without_structured_output_is_asked_in_plain_words(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(knows_no_schema=True, delay=0.05) as server:
        outcome = ask(tmp_path / "run", data, server, "a", policy={"concurrency": 16})
        requests = asked(server)
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["asked"], counts["refused"], counts["no_vote"]) == (60, 0, 0)
    # Found out by the requests that were in flight together, and not again.
    assert 60 < requests <= 60 + 16


@pytest.mark.parametrize("content", [["System 2"], 7, {"label": "System2"}])
def test_content_of_another_kind_is_an_unreadable_answer(tmp_path, content):
    data = write_questions(tmp_path / "data.jsonl", 3)
    with running_server(always=content) as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", policy={"retries": 1, "clock": FAST})
        assert "the answer was not readable" in error.value.found


@pytest.mark.parametrize("usage", [[1], {"prompt_tokens": -5}, None, "many"])
def test_an_answer_counts_although_its_bill_cannot_be_read(tmp_path, usage):
    data = write_questions(tmp_path / "data.jsonl", 3)
    parts = [{"type": "text", "text": "System"}, {"type": "text", "text": " 1"}]
    with running_server(always=parts, usage=usage) as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["system1"], counts["requests"]) == (3, 3)
    assert any("reported no tokens for 3 answers" in note for note in outcome.manifest.notes)


def test_the_key_appears_nowhere(tmp_path, monkeypatch, capfd):
    """Not in files, messages or tracebacks, even where a server repeats it."""
    key = "sk-secret-0123456789abcdef"
    data = write_questions(tmp_path / "data.jsonl", 10)
    monkeypatch.setenv("MY_KEY", key)
    texts = []
    settings = {"key": key, "refuse": ["Natalia"], "echo_key": True}
    with running_server(**settings) as server:
        config = tmp_path / "mine.yaml"
        config.write_text(
            f"teachers:\n  a: {{base_url: '{server.url}', model: model-a, key_env: MY_KEY}}\n"
        )
        options = {"data": str(data), "teachers": ["a"], "teachers_file": config}
        outcome = classify(RunDir(tmp_path / "run"), policy=RequestPolicy(clock=FAST), **options)
        assert server.stats()["headers"]["authorization"] == f"Bearer {key}"
        monkeypatch.setenv("MY_KEY", key + "-wrong")
        with pytest.raises(LoraparError) as error:
            classify(
                RunDir(tmp_path / "other"),
                policy=RequestPolicy(clock=FAST),
                progress=print,
                **options,
            )
        texts += [str(error.value), "".join(traceback.format_exception(error.value))]
    assert "the key was not accepted (401)" in texts[0]
    assert any("[key]" in line["text"] for line in read_lines(outcome.folder / "votes.jsonl"))
    texts += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    texts += [repr(outcome), *capfd.readouterr()]
    assert not [text for text in texts if "0123456789abcdef" in text]


def test_a_missing_key_is_named_before_anything_is_written(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 3)
    config = tmp_path / "mine.yaml"
    config.write_text(
        "teachers:\n  a: {base_url: 'http://127.0.0.1:9/v1', model: m, key_env: NO_SUCH_KEY}\n"
    )
    with pytest.raises(LoraparError, match="cannot be asked") as error:
        classify(RunDir(tmp_path / "run"), data=str(data), teachers=["a"], teachers_file=config)
    assert "`a`: no key in `NO_SUCH_KEY`" in error.value.found
    assert not (tmp_path / "run").exists()


def test_two_runs_at_a_time_on_one_journal_are_refused(tmp_path):
    from lorapar_cli.labelling.votes.journal import Journal

    data = write_questions(tmp_path / "data.jsonl", 3)
    journal = Journal(tmp_path / "run" / "classify" / "votes.jsonl")
    with journal, pytest.raises(LoraparError, match="another `lorapar classify` is writing"):
        classify(RunDir(tmp_path / "run"), data=str(data), teachers=["rules-cues"])


def test_a_full_disk_keeps_every_answer_that_was_written(tmp_path):
    """The disk is full after 4,000 bytes of journal; with room the same command goes on."""
    data = write_questions(tmp_path / "data.jsonl", 40)
    run_dir = tmp_path / "run"
    with running_server() as server:
        command = [sys.executable, "-m", "lorapar_cli", "classify", str(data)]
        command += ["--teachers", server.teacher("a"), "--run-dir", str(run_dir)]
        limit = f"trap '' XFSZ; ulimit -f 8; exec {shlex.join(command)}"
        full = subprocess.run(["bash", "-c", limit], capture_output=True, text=True)
        assert full.returncode == 1
        assert "cannot write" in full.stderr
        assert "Traceback" not in full.stderr
        kept = read_lines(run_dir / "classify" / "votes.jsonl")
        assert 5 < len(kept) < 40
        assert subprocess.run(command, capture_output=True).returncode == 0
        assert len(server.stats()["billed"]) == 40
        repeated = sum(server.stats()["billed"].values()) - 40
    # What was in flight when the disk was full is asked again, nothing else.
    assert repeated <= 16 + 16


def test_an_answer_without_a_label_is_asked_about_once_more_and_only_once(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 10)
    with running_server(fault_share=1.0, faults={"both": 1}) as server:
        first = ask(tmp_path / "run", data, server, "a")
        assert asked(server) == 20
        journal = first.folder / "votes.jsonl"
        lines = read_lines(journal)
        unsure = [line for line in lines if line.get("final") is False]
        assert [line["vote"] for line in unsure] == [None] * 10
        # Killed after the first answers: each question is asked once more, not twice.
        journal.write_text("".join(json.dumps(line) + "\n" for line in unsure))
        second = ask(tmp_path / "run", data, server, "a", seed=1)
        assert asked(server) == 30
    assert labels_of(second.folder) == expected_labels(second.folder, "a")


def test_answers_that_never_hold_a_label_are_no_votes_and_journaled(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 6)
    with running_server(always="I cannot say") as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
        assert asked(server) == 12
        ask(tmp_path / "run", data, server, "a", holdout=0.0, on_tie="system1")
        assert asked(server) == 12
    assert outcome.manifest.counts["undecided"] == 6
    assert outcome.manifest.counts["teachers"]["a"]["no_vote"] == 6
    lines = read_lines(outcome.folder / "labels.jsonl")
    assert {line["votes"]["a"] for line in lines} == {None}
    assert {line["agreement"] for line in lines} == {None}


def test_progress_is_told_for_each_teacher_with_rate_retries_cost_and_time_left(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 30)
    told = []
    with running_server() as server:
        classify(
            RunDir(tmp_path / "run"),
            data=str(data),
            teachers=["a", "b"],
            teachers_file=priced(tmp_path / "mine.yaml", server),
            progress=told.append,
        )
    for name in "ab":
        mine = [event for event in told if event.task == name]
        assert [event.done for event in mine] == list(range(1, 31))
        assert {event.total for event in mine} == {30}
        figures = " | ".join(mine[-1].figures)
        assert re.fullmatch(r"[\d.]+/s \| 0 retries \| \$0.0600 \| 0:00 left", figures)


def test_an_endpoint_that_suddenly_refuses_everything_is_down_and_no_vote_is_invented(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 80)
    with running_server(refuses_after={"model-a": 30}) as server:
        with pytest.raises(LoraparError, match="not every teacher answered") as error:
            ask(tmp_path / "run", data, server, "a", policy={"concurrency": 4})
        assert "`a`: 30 of 80 questions answered, then it failed: refused (400)" in (
            error.value.found
        )
        assert asked(server) < 30 + 20 + 4


def test_an_endpoint_without_credit_is_asked_nothing_more(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 80)
    with running_server(refuses_after={"model-a": 10}, refuses_with=402) as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", policy={"concurrency": 2})
        assert "out of credit (402)" in error.value.found
        assert asked(server) <= 12


def test_a_model_without_a_system_role_gets_all_in_one_message(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 5)
    with running_server(knows_no_system=True) as server:
        outcome = ask(tmp_path / "run", data, server, "a", policy={"concurrency": 1})
        assert asked(server) == 6
        questions = list(server.stats()["billed"])
    assert outcome.manifest.counts["teachers"]["a"]["asked"] == 5
    assert all("You are a small language model" in question for question in questions)


def test_an_endpoint_that_takes_few_requests_at_a_time_is_found_out(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 400)
    with running_server(capacity=4, delay=0.02) as server:
        outcome = ask(tmp_path / "run", data, server, "a", policy={"concurrency": 32})
        requests = asked(server)
    assert labels_of(outcome.folder) == expected_labels(outcome.folder, "a")
    print(f"{requests - 400} of {requests} requests were too many")
    # Without adaptation seven of eight would be.
    assert requests < 2 * 400


@pytest.mark.parametrize(
    ("status", "said"), [(429, "too many requests (429)"), (503, "server error 503")]
)
def test_a_teacher_that_only_ever_says_later_is_given_up_after_a_long_patience(
    tmp_path, status, said
):
    data = write_questions(tmp_path / "data.jsonl", 4)
    policy = {"concurrency": 1, "clock": Clock(speed=1000), "retries": 1}
    with running_server(refuses_after={"model-a": 0}, refuses_with=status, later="15") as server:
        with pytest.raises(LoraparError) as error:
            ask(tmp_path / "run", data, server, "a", policy=policy)
        assert f"{said}, 11 times in a row" in error.value.found
        assert asked(server) >= 11


def test_unusual_content_reaches_the_teacher_unchanged(tmp_path):
    rows = [
        {"question": "long " * 20_000, "answer": "#### 1"},
        {"question": "🦆\r\nnext line\t{{answer}} {}", "answer": "é\u2028#### 2"},
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "日本語?"},
                {"role": "assistant", "content": "はい"},
            ]
        },
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with running_server() as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
        questions = "\0".join(server.stats()["billed"])
    assert len(labels_of(outcome.folder)) == 3
    for part in ("long " * 20_000, rows[1]["question"], rows[1]["answer"], "Be kind.\n日本語?"):
        assert part in questions


def test_a_teacher_keeps_its_answers_when_another_of_its_model_joins(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    run_dir = RunDir(tmp_path / "run")
    with running_server() as first, running_server() as second:
        teachers = [f"one=shared@{first.url}", f"two=shared@{second.url}"]
        for chosen in (teachers[:1], teachers, teachers[::-1], teachers[:1]):
            classify(run_dir, data=str(data), teachers=chosen, policy=RequestPolicy(clock=FAST))
        assert (asked(first), asked(second)) == (20, 20)
        # Two that never stood alone are told apart by their names, each asked once.
        again = RunDir(tmp_path / "again")
        for chosen in (teachers, teachers[::-1]):
            classify(again, data=str(data), teachers=chosen, policy=RequestPolicy(clock=FAST))
        assert (asked(first), asked(second)) == (40, 40)


def limited(path, server, tokens):
    fields = f"base_url: '{server.url}', model: model-a, max_tokens: {tokens}"
    path.write_text(f"teachers:\n  a: {{{fields}}}\n")
    return path


def test_an_answer_that_was_cut_off_is_no_vote_and_is_had_with_more_tokens(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    with running_server(tokens_needed={"model-a": 500}) as server:

        def run(tokens):
            options = {"teachers_file": limited(tmp_path / "t.yaml", server, tokens)}
            options |= {"data": str(data), "teachers": ["a"], "policy": RequestPolicy(clock=FAST)}
            return classify(RunDir(tmp_path / "run"), **options)

        outcome = run(100)
        counts = outcome.manifest.counts["teachers"]["a"]
        assert (counts["no_vote"], counts["cut"], counts["system2"]) == (20, 20, 0)
        assert asked(server) == 40
        (note,) = [note for note in outcome.manifest.notes if "cut off" in note]
        assert "20 answers were cut off at 100 tokens" in note
        assert "`max_tokens`" in note
        assert not run(100).fresh
        assert not run(50).fresh
        more = run(500)
        assert asked(server) == 60
        assert more.manifest.counts["teachers"]["a"]["cut"] == 0
        assert more.manifest.counts["teachers"]["a"]["prompt_tokens"] == 60 * 100
        assert not run(900).fresh
    assert labels_of(more.folder) == expected_labels(more.folder, "a")


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 101, "completion_tokens": 13}])
def test_tokens_and_money_are_the_same_for_straight_and_resumed_runs(tmp_path, usage):
    data = write_questions(tmp_path / "data.jsonl", 40)
    sums = []
    for name, parts in (("straight", (40,)), ("resumed", (7, 23, 40))):
        with running_server(usage=usage, fault_share=0.3, faults={"both": 1}) as server:
            mine = priced(tmp_path / "mine.yaml", server, "{input: 0.37, output: 1.13}")
            for limit in parts:
                outcome = classify(
                    RunDir(tmp_path / name),
                    data=str(data),
                    teachers=["a", "b"],
                    teachers_file=mine,
                    limit=limit,
                    policy=RequestPolicy(clock=FAST),
                )
        wanted = ("prompt_tokens", "completion_tokens", "cost", "tokens_estimated")
        rows = outcome.manifest.counts["teachers"].values()
        notes = [note for note in outcome.manifest.notes if "estimated" in note]
        sums.append(([[row[key] for key in wanted] for row in rows], notes))
        assert outcome.manifest.metrics["cost"] == round(sum(row["cost"] for row in rows), 9)
    assert sums[0] == sums[1]
    assert all(prompt > 40 * 100 for prompt, *_ in sums[0][0])
    assert len(sums[0][1]) == (2 if usage is None else 0)


def test_what_economy_spared_is_not_taken_for_a_refusal(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server(refuse=["Natalia", "Ann has 7 "]) as server:
        outcome = ask(tmp_path / "run", data, server, "abc", economy=True, min_votes=1)
    counts = outcome.manifest.counts
    spared = counts["requests_saved"]["economy"]
    assert spared > 0
    rows = counts["teachers"]["c"]
    assert rows["no_vote"] == rows["refused"]
    assert rows["system1"] + rows["system2"] + rows["no_vote"] == 60 - spared


def test_a_full_disk_under_the_working_file_keeps_every_answer(tmp_path):
    """Files may have 512 KiB each: the journal fits, what is kept of 10,000 records does not."""
    rows = [{"id": f"{i:0200}", "question": f"{i}?", "answer": f"#### {i}"} for i in range(10_000)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:10]))
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "lorapar_cli", "classify", str(data)]
    command += ["--teachers", "rules-cues", "--run-dir", str(run_dir)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    journal = (run_dir / "classify" / "votes.jsonl").read_bytes()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limit = f"trap '' XFSZ; ulimit -f 512; exec {shlex.join(command)}"
    full = subprocess.run(["bash", "-c", limit], capture_output=True, text=True)
    assert full.returncode == 1
    assert "cannot write a working file" in full.stderr
    assert "Traceback" not in full.stderr
    assert (run_dir / "classify" / "votes.jsonl").read_bytes().startswith(journal)
    assert [path.name for path in run_dir.iterdir()] == ["classify"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_how_to_give_a_price_is_said_and_works(tmp_path):
    import yaml

    data = write_questions(tmp_path / "data.jsonl", 2)
    for name in ("qwen", "m=org/model:7b@http://127.0.0.1:9/v1"):
        options = {"data": str(data), "teachers": [name]}
        with pytest.raises(UsageError, match="--max-cost") as error:
            classify(RunDir(tmp_path / "run"), policy=RequestPolicy(max_cost=1.0), **options)
        plan = classify(RunDir(tmp_path / "run"), dry_run=True, **options)
        assert error.value.hint in plan.notes
        said = re.search(r"`(teachers: .*?)` and", error.value.hint)[1].replace("DOLLARS", "2")
        mine = tmp_path / "mine.yaml"
        mine.write_text(said)
        named = list(yaml.safe_load(said)["teachers"])
        options |= {"teachers": named, "teachers_file": mine}
        plan = classify(RunDir(tmp_path / "run"), dry_run=True, **options)
        assert plan.rows[named[0]]["cost"] > 0
