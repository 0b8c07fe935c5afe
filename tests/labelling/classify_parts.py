"""What the tests of classify share: the misbehaving server, data to ask about, short calls."""

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from lorapar_cli.data.readers import open_source
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.events import silent
from lorapar_cli.labelling import classify as stage
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.label_prompt import read_prompt
from lorapar_cli.labelling.teachers.rate_limit import REAL_TIME, Clock
from lorapar_cli.labelling.votes.journal_index import JournalIndex
from lorapar_cli.labelling.votes.record_index import build_index
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.records import Record
from lorapar_cli.store.run_dir import RunDir
from tests.labelling import teacher_server

SERVER = Path(teacher_server.__file__)
RULES = ("rules-operations", "rules-cues", "rules-shape")
FAST = Clock(speed=100)


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


def run_classify(folder, data, teachers=RULES, *, clock=REAL_TIME, progress=None, **options):
    """Runs the stage in a run directory."""
    more = {} if progress is None else {"progress": progress}
    chosen = ClassifyOptions(data=(str(data),), teachers=tuple(teachers), **options)
    return stage.classify(RunDir(folder), chosen, clock=clock, **more)


def estimate_cost(folder, data, teachers, **options):
    """Makes the dry run."""
    chosen = ClassifyOptions(data=(str(data),), teachers=tuple(teachers), **options)
    return stage.estimate_cost(RunDir(folder), chosen)


def ask(folder, data, server, names, *, clock=FAST, **options):
    """Runs the stage with teachers of a server, on a clock that runs 100 times faster."""
    teachers = [server.teacher(name) for name in names]
    return run_classify(
        folder, data, teachers, clock=clock, **({"concurrency": 8, "timeout": 400} | options)
    )


def open_vote_table(database, data, teachers, journal):
    """Returns the vote table of a data set in a scratch database."""
    index = build_index(database, open_source(str(data)), 0, silent)
    prompt = read_prompt(None, role_play=True, student=None, description=None)
    return VoteTable(index, find_teachers(teachers), prompt, JournalIndex(database, journal))


def requests_to(server):
    return sum(server.stats()["requests"].values())


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_questions(path, count):
    """Writes GSM8K-like records, no two alike."""
    return write_rows(
        path,
        (
            {
                "question": f"Ann has {i} apples and buys {i + 3} more. How many are there?",
                "answer": f"{i}+{i + 3}=<<{i}+{i + 3}={2 * i + 3}>>{2 * i + 3}\n#### {2 * i + 3}",
            }
            for i in range(count)
        ),
    )


def write_corpus(path, per_system=100):
    """Writes records of the embedded corpus, which know their labels."""
    return write_rows(path, training_records(per_system=per_system))


def write_teachers(path, server, price="{input: 10, output: 100}"):
    """Writes a teachers file with two priced teachers, `a` and `b`."""
    lines = [f"  {name}:\n    base_url: {server.url}\n    model: model-{name}" for name in "ab"]
    priced = [line + f"\n    price: {price}" for line in lines]
    path.write_text("teachers:\n" + "\n".join(priced) + "\nscore:\n  rank: 8\n")
    return path


def read_lines(path):
    # Not `splitlines`: a line may hold characters at which that would split too.
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def manifest_path(run_dir):
    return run_dir / Stage.CLASSIFY / Artifact.MANIFEST


def labels_of(folder):
    """Record id -> label, of all files that classify wrote."""
    return {
        line["id"]: line["label"]
        for name in (Artifact.LABELS, Artifact.HELD_OUT)
        for line in read_lines(folder / name)
    }


def expected_labels(folder, teachers):
    """What majority voting over the server's true labels gives, from the written records."""
    prompt = read_prompt(None, role_play=True, student=None, description=None)
    expected = {}
    for name in (Artifact.LABELS, Artifact.HELD_OUT):
        for line in read_lines(folder / name):
            record = Record.from_json(line)
            question = teacher_server.question_of(prompt.messages(record))
            votes = [teacher_server.true_label(f"model-{t}", question) for t in teachers]
            ones, twos = votes.count("system1"), votes.count("system2")
            expected[record.id] = "system1" if ones > twos else "system2"
    return expected
