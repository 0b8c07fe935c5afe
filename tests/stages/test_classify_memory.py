"""Memory of classify does not grow with the data but for a few dozen bytes a record."""

import json
import subprocess
import sys

import pytest

RULES = "rules-operations,rules-cues,rules-shape"


def write_many(path, count):
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            question = f"Ann has {i} apples, buys {i % 97 + 3} more and gives half away. How many?"
            row = {
                "question": question + " It rains." * 15,
                "answer": f"{i}+3={i + 3}\n#### {i + 3}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def peak_megabytes(data, run_dir, teachers, *options):
    """Peak resident memory of one classify command, in MB.

    Of the program itself: what `getrusage` says begins with the peak of the process it came from.
    """
    program = (
        "import sys; from lorapar_cli.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", program, "classify", str(data), "--teachers", teachers]
    command += ["--run-dir", str(run_dir), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024


def test_memory_grows_by_a_few_hundred_bytes_a_record_at_most(tmp_path):
    few = peak_megabytes(write_many(tmp_path / "few.jsonl", 1000), tmp_path / "a", "rules-shape")
    many = peak_megabytes(
        write_many(tmp_path / "many.jsonl", 31_000), tmp_path / "b", "rules-shape"
    )
    grown = 1e6 * (many - few) / 30_000
    print(f"{few:.0f} MB, {many:.0f} MB: {grown:.0f} bytes a record")
    # A record's line alone has 250 bytes, its objects in memory some 2,000.
    assert grown < 400


@pytest.mark.slow
def test_200_000_records_stay_under_400_megabytes(tmp_path):
    data = write_many(tmp_path / "data.jsonl", 200_000)
    first = peak_megabytes(data, tmp_path / "run", RULES)
    again = peak_megabytes(data, tmp_path / "run", RULES, "--on-tie", "system1")
    print(f"{first:.0f} MB asking, {again:.0f} MB from the journal")
    assert max(first, again) < 400
