"""A classify that is killed resumes where it was, and pays for nothing twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time

from tests.labelling.classify_parts import (
    expected_labels,
    labels_of,
    read_lines,
    running_server,
    write_questions,
)

CONCURRENCY = 8
TEACHERS = "abc"


def start(data, run_dir, server):
    arguments = [sys.executable, "-m", "lorapar_cli", "classify", str(data), "--json"]
    arguments += ["--teachers", ",".join(server.teacher(name) for name in TEACHERS)]
    arguments += ["--concurrency", str(CONCURRENCY), "--run-dir", str(run_dir)]
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    # A shell's background jobs, and so the tests in one, ignore interrupts.
    return subprocess.Popen(
        ["env", "--default-signal=INT", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def journaled(run_dir):
    journal = run_dir / "classify" / "votes.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_five_kills_at_random_moments_change_no_label(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 300)
    total = 300 * len(TEACHERS)
    run_dir = tmp_path / "run"
    moments = sorted(random.Random(7).sample(range(20, total - 60), 5))
    with running_server(delay=0.03) as server:
        for moment in moments:
            process = start(data, run_dir, server)
            while journaled(run_dir) < moment and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            assert not (run_dir / "classify" / "manifest.json").exists()
        process = start(data, run_dir, server)
        out, err = process.communicate()
        assert process.returncode == 0, err
        stats = server.stats()
    folder = run_dir / "classify"
    assert labels_of(folder) == expected_labels(folder, TEACHERS)
    assert len(labels_of(folder)) == 300
    repeated = sum(stats["billed"].values()) - total
    print(f"{repeated} of {total} questions billed twice after five kills")
    assert len(stats["billed"]) == total
    # In flight at a kill are at most eight requests of each teacher.
    assert 0 <= repeated <= 5 * CONCURRENCY * len(TEACHERS)
    teachers = json.loads(out)["counts"]["teachers"]
    assert sum(row["asked"] + row["from_journal"] for row in teachers.values()) == total
    lines = read_lines(folder / "votes.jsonl")
    assert len({line["key"] for line in lines}) == len(lines) == total


def test_a_second_run_asks_nothing_and_an_interrupt_exits_130(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 200)
    run_dir = tmp_path / "run"
    with running_server(delay=0.05) as server:
        process = start(data, run_dir, server)
        while journaled(run_dir) < 50:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "answers so far are saved" in err
        assert start(data, run_dir, server).wait() == 0
        before = sum(server.stats()["requests"].values())
        limited = start(data, run_dir, server)
        assert limited.wait() == 0
        assert sum(server.stats()["requests"].values()) == before
