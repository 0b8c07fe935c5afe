"""Logs of training: resumed from a step, whatever their lines contain."""

import json

from lorapar_cli.store.step_log import StepLog

ODD = "next line \x85, line separator \u2028, form feed \x0c, \n and \r\n"


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_a_new_log_starts_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    StepLog(path, 0)
    assert path.read_bytes() == b""


def test_a_log_resumes_from_its_step_whatever_its_lines_contain(tmp_path):
    path = tmp_path / "completions.jsonl"
    log = StepLog(path, 0)
    log.append([{"step": step, "completion": ODD} for step in (1, 1, 2, 2, 3)])
    torn = json.dumps({"step": 3, "completion": "ü"}, ensure_ascii=False).encode()
    with open(path, "ab") as file:
        file.write(torn[: torn.index("ü".encode()) + 1])
    StepLog(path, 2).append([{"step": 3, "completion": ODD}])
    assert read(path) == [{"step": step, "completion": ODD} for step in (1, 1, 2, 2, 3)]
