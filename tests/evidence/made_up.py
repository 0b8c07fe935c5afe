"""Data in the layout of the public files, a few records of each."""

import json

from lorapar_cli.embedded import TEST_SET


def write_data(folder, each=12):
    """Writes every file that the studies on the real model read; returns the folder."""
    choice = [
        {
            "instruction": f"Please choose the correct answer to the question: Which is {n}?\n\n"
            f"Answer1: number {n} Answer2: number {n + 1}\n\nAnswer format: answer1/answer2",
            "input": "",
            "output": f"the correct answer is answer{1 + n % 2}",
            "answer": f"answer{1 + n % 2}",
        }
        for n in range(4 * each)
    ]
    truth = [
        {
            "instruction": f"Please answer the following question with true or false, question: "
            f"is {n} odd?\n\nAnswer format: true/false",
            "input": "",
            "output": f"the correct answer is {str(bool(n % 2)).lower()}",
            "answer": str(bool(n % 2)).lower(),
        }
        for n in range(2 * each)
    ]
    problems = [
        {
            "question": f"Ann has {n} eggs, finds {n} more and then sells 2. How many are left?",
            "answer": f"She has {n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}.\n"
            f"Then {2 * n}-2=<<{2 * n}-2={2 * n - 2}>>{2 * n - 2}.\n#### {2 * n - 2}",
        }
        for n in range(8 * each)
    ]
    files = {
        "arc/challenge_train.json": json.dumps(choice[: 2 * each]),
        "arc/challenge_test.json": json.dumps(choice[2 * each :]),
        "boolq/train.json": json.dumps(truth),
        "gsm8k/train.jsonl": "".join(json.dumps(row) + "\n" for row in problems[: 4 * each]),
        "gsm8k/test.jsonl": "".join(json.dumps(row) + "\n" for row in problems[4 * each :]),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def few_records(path, each=3):
    """Writes the first held-out records of each system; returns the file's name."""
    rows = [json.loads(line) for line in TEST_SET.read_text().splitlines()]
    chosen = [
        row
        for system in ("system1", "system2")
        for row in [row for row in rows if row["label"] == system][:each]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    return str(path)
