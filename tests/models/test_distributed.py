"""Two processes over gloo, started by `torchrun`, and one process without a launcher."""

import json
import os
import subprocess
import sys

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.distributed import Processes, join_processes

SCRIPT = """
import json, sys, time
from pathlib import Path
import torch
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.distributed import join_processes

processes = join_processes()
rank = processes.rank
total, copied = torch.tensor([1.0, rank]), [torch.full((2,), float(rank)), torch.tensor([rank])]
processes.add_up(total)
processes.copy_from_main(copied)

def fail():
    raise LoraparError("it failed", "found", "hint")

try:
    processes.on_main(fail)
    error = None
except LoraparError as raised:
    error = [raised.what, raised.found, raised.hint]
marker = Path(sys.argv[1], "marker")
if rank == 1:
    time.sleep(0.5)
    marker.touch()
processes.wait()
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps({
    "count": processes.count,
    "share": processes.share([10, 11, 12, 13, 14]),
    "total": total.tolist(),
    "copied": [tensor.tolist() for tensor in copied],
    "main": processes.on_main(lambda: {"rank": rank}),
    "error": error,
    "waited": marker.exists(),
}))
torch.distributed.destroy_process_group()
"""


def test_two_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, "--nproc_per_node", "2", str(script), str(tmp_path)],
        env=environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=300,
    )
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [one["share"] for one in found] == [[10, 12, 14], [11, 13]]
    for one in found:
        assert one["count"] == 2
        assert one["total"] == [2.0, 1.0]
        assert one["copied"] == [[0.0, 0.0], [0]]
        assert one["main"] == {"rank": 0}
        assert one["error"] == ["it failed", "found", "hint"]
        assert one["waited"]


def test_one_process_without_a_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    processes = join_processes()
    assert processes == Processes(0, 1)
    assert processes.share([1, 2, 3]) == [1, 2, 3]
    assert processes.on_main(lambda: 5) == 5
    processes.wait()


def test_an_error_on_the_only_process_is_the_functions_own():
    def fail():
        raise LoraparError("it failed")

    with pytest.raises(LoraparError, match="it failed"):
        Processes(0, 1).on_main(fail)


def test_a_launcher_that_starts_one_process_of_several_is_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(LoraparError, match="fewer processes than it was asked for"):
        join_processes()
