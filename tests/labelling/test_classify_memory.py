"""Memory of classify does not grow with the data: not for a record, a vote or an answer."""

import json
import subprocess
import sys

import pytest

from lorapar_cli.data.formats import content_digest
from lorapar_cli.labelling.teachers.label_prompt import read_prompt
from lorapar_cli.labelling.teachers.teacher import answer_key

FEW, MANY = 20_000, 80_000
# What sorting and the database's pages take at most. Were the smallest dict kept for each of the
# 60,000 records by which the runs differ, it would be twice as much.
MOST_GROWN = 10
RULES = ("--teachers", "rules-operations,rules-cues,rules-shape")
ENDPOINTS = ("--teachers", ",".join(f"{name}=model-{name}@http://127.0.0.1:9/v1" for name in "abc"))


def row(number):
    """A record; of ten one is the same as the one before, and five share an id."""
    i = number - 1 if number % 10 == 9 else number
    return {
        "id": f"r{number - number % 5}",
        "question": f"Ann has {i} apples, buys {i % 97 + 3} more and gives half away. How many?",
        "answer": f"{i}+3={i + 3}\n#### {i + 3}",
    }


def peak_megabytes(folder, count, *options, first=""):
    """Peak resident memory of one classify command on `count` records, in MB.

    Of the program itself: what `getrusage` says begins with the peak of the process it came from.
    """
    data = folder / f"{count}.jsonl"
    if not data.exists():
        with open(data, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row(number)) + "\n" for number in range(count))
    program = (
        f"import sys; from lorapar_cli.cli.main import main\n{first}\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", program, "classify", str(data), "--json", *options]
    command += ["--run-dir", str(folder / f"run{count}")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024


def grown(folder, counts, *options, **more):
    """By how many MB the peak of the larger run is above that of the smaller one."""
    few, many = (peak_megabytes(folder, count, *options, **more) for count in counts)
    print(f"{counts[0]:,} records {few:.1f} MB, {counts[1]:,} records {many:.1f} MB: {options}")
    return many - few


def write_journal(folder, count):
    """Writes answers of three endpoints on every record, which mostly agree."""
    digest = read_prompt(None, role_play=True, student=None, description=None).digest
    stage = folder / f"run{count}" / "classify"
    stage.mkdir(parents=True)
    with open(stage / "votes.jsonl", "w", encoding="utf-8") as file:
        for number in range(count):
            record = row(number)
            content = content_digest(record["question"], record["answer"])
            for column, name in enumerate("abc"):
                key = answer_key(f"model-{name}", digest, bytes.fromhex(content)[:16])
                vote = f"system{1 + (number + column // 2 * (number % 7 == 0)) % 2}"
                line = {"key": key, "teacher": name, "vote": vote, "text": vote * 20}
                line |= {"prompt_tokens": 500, "completion_tokens": 20}
                file.write(json.dumps(line) + "\n")


def test_asking_rules_takes_no_memory_for_a_record(tmp_path):
    assert grown(tmp_path, (FEW, MANY), *RULES) < MOST_GROWN


def test_endpoints_answers_take_no_memory_either(tmp_path):
    for count in (FEW, MANY):
        write_journal(tmp_path, count)
    assert grown(tmp_path, (FEW, MANY), *ENDPOINTS, "--economy") < MOST_GROWN
    assert grown(tmp_path, (FEW, MANY), *ENDPOINTS, "--dry-run", "--no-role-play") < MOST_GROWN


def test_a_dict_for_each_record_would_be_seen(tmp_path):
    """The bound holds without, and would not with a single small dict kept for each record."""
    keep = (
        "from lorapar_cli.labelling.votes import record_index\n"
        "kept, read = [], record_index.source_label\n"
        "record_index.source_label = lambda record: kept.append({'id': record.id}) or read(record)\n"
    )
    for first, grows in (("", False), (keep, True)):
        more = grown(tmp_path, (FEW, MANY), *RULES, "--dry-run", first=first)
        assert (more > MOST_GROWN) == grows


@pytest.mark.slow
def test_a_million_records_take_what_fifty_thousand_take(tmp_path):
    counts = (50_000, 1_000_000)
    assert grown(tmp_path, counts, *RULES) < MOST_GROWN
    for count in counts:
        lines = (f'{{"id": "r{number}", "label": "system1"}}\n' for number in range(0, count, 10))
        (tmp_path / f"run{count}" / "review.jsonl").write_text("".join(lines))
    # From a journal of 2,700,000 answers.
    assert grown(tmp_path, counts, *RULES, "--vote", "weighted", "--on-tie", "drop") < MOST_GROWN
    assert grown(tmp_path, counts, "--strategy", "random", "--holdout", "0.01") < MOST_GROWN
    peaks = [
        peak_megabytes(
            tmp_path, count, *RULES, "--review", str(tmp_path / f"run{count}" / "review.jsonl")
        )
        for count in counts
    ]
    print(peaks, "with a review of every tenth record")
    assert peaks[1] - peaks[0] < MOST_GROWN
