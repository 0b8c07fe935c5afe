"""What the tests of classify share: the misbehaving server, and a data set to ask about."""

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.labelling import teacher_server

SERVER = Path(teacher_server.__file__)
GSM8K = Path(__file__).parents[2] / ".." / "shared" / "data" / "gsm8k" / "train.jsonl"


class Running:
    """A server in its own process."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/v1"

    def teacher(self, name):
        return f"{name}=model-{name}@{self.url}"

    def stats(self):
        with urllib.request.urlopen(self.url + "/stats") as answer:
            return json.load(answer)


@contextmanager
def running_server(**settings):
    command = [sys.executable, str(SERVER), json.dumps(settings)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Running(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


def write_questions(path, count, start=0):
    """Writes GSM8K-like records; those of the real data where they are at hand."""
    if GSM8K.exists():
        lines = GSM8K.read_text(encoding="utf-8").splitlines()[start : start + count]
    else:
        lines = [
            json.dumps(
                {
                    "question": f"Ann has {i} apples and buys {i + 3} more. How many are there?",
                    "answer": f"{i}+{i + 3}=<<{i}+{i + 3}={2 * i + 3}>>{2 * i + 3}\n#### {2 * i + 3}",
                }
            )
            for i in range(start, start + count)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_lines(path):
    # Not `splitlines`: a line may hold characters at which that would split too.
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def labels_of(folder):
    """Record id -> label, of all files that classify wrote."""
    return {
        line["id"]: line["label"]
        for name in ("labels.jsonl", "heldout.jsonl")
        for line in read_lines(folder / name)
    }


def expected_labels(folder, teachers):
    """What majority voting over the server's true labels gives, from the written records."""
    from lorapar_cli.labelling.teachers.label_prompt import read_prompt
    from lorapar_cli.store.records import Record

    prompt = read_prompt(None, role_play=True, student=None, description=None)
    expected = {}
    for name in ("labels.jsonl", "heldout.jsonl"):
        for line in read_lines(folder / name):
            record = Record.from_json(line)
            question = teacher_server.question_of(prompt.messages(record))
            votes = [teacher_server.true_label(f"model-{t}", question) for t in teachers]
            ones, twos = votes.count("system1"), votes.count("system2")
            expected[record.id] = "system1" if ones > twos else "system2"
    return expected
