"""The sandbox: right programs pass, wrong ones fail, hostile ones fail, are held and leave nothing.

A hostile program "succeeds" where its function returns "done": the test then passes.
"""

import json
import os
import time
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox import runner as sandbox
from lorapar_cli.grading.sandbox.runner import (
    BACKENDS,
    UNSAFE,
    Limits,
    Program,
    find_backend,
    probe,
    run_program,
    run_programs,
)
from tests.shared_data import SHARED_DATA

MARK = f"lorapar-hostile-{os.getpid()}"
PLACES = ["/tmp", "/var/tmp", "/dev/shm", "/", str(Path.home()), "/usr/lib", "."]
TEST = "def check(candidate):\n    assert candidate() == 'done'\n"

HOSTILE = {
    "network": "import socket\n"
    "def f():\n    socket.create_connection(('127.0.0.1', 22), 2)\n    return 'done'",
    "udp": "import socket\n"
    "def f():\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n"
    "    return 'done'",
    "unix socket": "import socket\ndef f():\n    socket.socket(socket.AF_UNIX)\n    return 'done'",
    "fork bomb": "import os\ndef f():\n    while True:\n        os.fork()\n",
    "quiet fork": "import os\n"
    "def f():\n"
    "    if os.fork() == 0:\n        import time\n        time.sleep(60)\n"
    "    return 'done'",
    "fork by number": "import ctypes\n"
    "def f():\n"
    "    c = ctypes.CDLL(None, use_errno=True)\n"
    "    r = max(c.syscall(57), c.syscall(56, 17, 0, 0, 0, 0), c.syscall(435, b'\\0' * 64, 64))\n"
    "    return 'done' if r >= 0 else 'held'",
    "threads": "import threading\n"
    "def f():\n    threading.Thread(target=int).start()\n    return 'done'",
    "subprocess": "import subprocess\n"
    "def f():\n    subprocess.run(['/bin/true'])\n    return 'done'",
    "exec": "import os\ndef f():\n    os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])\n",
    "endless loop": "def f():\n    while True:\n        pass",
    "endless loop at import": "while True:\n    pass",
    "sleep": "import time\ndef f():\n    time.sleep(60)\n    return 'done'",
    "ignored signals": "import signal\n"
    "for n in range(1, 32):\n"
    "    try:\n        signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError):\n        pass\n"
    "def f():\n    while True:\n        pass",
    "10 GB of memory": "def f():\n    x = bytearray(10 * 2**30)\n    return 'done'",
    "memory bit by bit": "def f():\n"
    "    kept = [bytearray(2**20) for _ in range(10 * 2**10)]\n    return 'done'",
    "a 10 GB file": "def f():\n"
    f"    with open('/tmp/{MARK}', 'wb') as file:\n"
    "        for _ in range(10 * 2**10):\n            file.write(bytes(2**20))\n"
    "    return 'done'",
    "many files": "def f():\n"
    "    for n in range(1000):\n"
    f"        open(f'/tmp/{MARK}-{{n}}', 'wb').write(bytes(2**20))\n"
    "    return 'done'",
    "truncate by path": "import os\n"
    f"def f():\n    open('/tmp/{MARK}', 'w').write('x')\n    os.truncate('/tmp/{MARK}', 0)\n"
    "    return 'done'",
    "/etc/passwd": "def f():\n    open('/etc/passwd').read()\n    return 'done'",
    "home": "import os\n"
    f"def f():\n    names = os.listdir({str(Path.home())!r})\n"
    "    return 'done' if '.bashrc' in names or '.profile' in names else 'held'",
    "this file": f"def f():\n    open({__file__!r}).read()\n    return 'done'",
    "other processes": "import os\n"
    f"def f():\n    open('/proc/{os.getpid()}/environ').read()\n    return 'done'",
    "kill the parent": "import os\n"
    "def f():\n"
    f"    for pid in (os.getppid(), {os.getpid()}, {os.getppid()}, 1, -1):\n"
    "        os.kill(pid, 9)\n"
    "    return 'done'",
    "signal by owner": "import fcntl, os, signal\n"
    "def f():\n"
    "    r, w = os.pipe()\n"
    f"    fcntl.fcntl(r, 8, {os.getpid()})\n"
    "    return 'done'",
    "limits of others": "import resource\n"
    f"def f():\n    resource.prlimit({os.getpid()}, resource.RLIMIT_CORE, (0, 0))\n"
    "    return 'done'",
    "own limits": "import resource\n"
    "def f():\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return 'done'",
    "namespaces": "import ctypes\n"
    "def f():\n"
    "    return 'done' if ctypes.CDLL(None).unshare(0x10000000) == 0 else 'held'",
    "mount": "import ctypes\n"
    "def f():\n"
    "    return 'done' if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0 else 'held'",
    "trace": "import ctypes\n"
    f"def f():\n    return 'done' if ctypes.CDLL(None).ptrace(16, {os.getppid()}, 0, 0) == 0 else ''",
    "print the word": "def f():\n    print('passed'); print('done')",
    "write to every descriptor": "import json, os, struct\n"
    "payload = json.dumps({'nonce': '', 'passed': True, 'reason': '', 'ready': True}).encode()\n"
    "for n in range(64):\n"
    "    try:\n        os.write(n, struct.pack('<Q', len(payload)) + payload)\n"
    "    except OSError:\n        pass\n"
    "def f():\n    pass",
    "exit early": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef f():\n    os._exit(0)",
    "sys.exit": "import sys\ndef f():\n    sys.exit(0)",
    "catch the assertion": "def f():\n"
    "    try:\n        assert False\n"
    "    except AssertionError:\n        return None",
    "equal to everything": "class Any:\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __hash__(self):\n        return 0\n"
    "def f():\n    return Any()",
    "a text equal to everything": "class Any(str):\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __hash__(self):\n        return 0\n"
    "def f():\n    return Any('x')",
    "patched builtins": "import builtins, json, sys\n"
    "builtins.AssertionError = KeyError\n"
    "main = sys.modules['__main__']\n"
    "main.encode = main.send = lambda *a, **k: {'passed': True}\n"
    "json.dumps = lambda *a, **k: '{\"passed\": true}'\n"
    "def f():\n    return 'no'",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    return f()",
    "deep result": "def f():\n"
    "    x = []\n"
    "    for _ in range(10**5):\n        x = [x]\n"
    "    return x",
    "huge result": "def f():\n    return 'x' * (64 * 2**20)",
    "endless result": "import itertools\ndef f():\n    return itertools.count()",
    "endless output": "import sys\n"
    "def f():\n    while True:\n        sys.stderr.write('x' * 65536)",
    "writing outside": "def f():\n"
    "    written = 0\n"
    f"    for place in {[p for p in PLACES if p not in ('/tmp', '.')]!r}:\n"
    "        try:\n"
    f"            open(place + '/{MARK}', 'w').write('x')\n            written += 1\n"
    "        except OSError:\n            pass\n"
    "    return 'done' if written else 'held'",
    "files left behind": "def f():\n"
    f"    for place in {PLACES!r}:\n"
    "        try:\n"
    f"            open(place + '/{MARK}', 'w').write('x')\n"
    "        except OSError:\n            pass\n"
    "    return 'left'",
    "read the arguments": "import sys\n"
    "def f():\n    return 'done' if 'nonce' in str(sys.argv[1:]) else 'held'",
    "descriptors": "import os\n"
    "def f():\n"
    "    held = []\n"
    "    for n in range(64):\n"
    "        try:\n            os.fstat(n)\n            held.append(n)\n"
    "        except OSError:\n            pass\n"
    "    return 'done' if len(held) > 4 else 'held'",
    "read the environment": "import os\n"
    "def f():\n    return 'done' if set(os.environ) - {'PYTHONHASHSEED', 'LC_CTYPE', 'PWD'} else ''",
    "syntax error": "def f(:\n",
    "no such function": "def g():\n    return 'done'",
}

ENDLESS = {
    "endless loop",
    "endless loop at import",
    "sleep",
    "ignored signals",
    "endless output",
    # Millions of frames, and a program that took its own channel away.
    "deep recursion",
    "patched builtins",
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    if (why := probe(request.param)) is not None:
        pytest.skip(f"{request.param} does not hold on this machine: {why}")
    return request.param


def run(text, backend, test=TEST, seconds=5.0):
    return run_program(Program(text, "f", "", test), backend, Limits(seconds=seconds))


def sandboxed_processes():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"main('server', json.loads" in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_right_program_passes_and_a_wrong_one_says_why(backend):
    right = run("def f():\n    return 'done'", backend)
    assert right.passed, right.reason
    wrong = run("def f():\n    return 'dome'", backend)
    assert not wrong.passed
    assert wrong.reason.startswith("AssertionError")
    raising = run("def f():\n    return 1 / 0", backend)
    assert raising.reason == "ZeroDivisionError: division by zero"
    raising = run("def f():\n    raise EOFError('no more')", backend)
    assert raising.reason == "EOFError: no more"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_fails_and_leaves_nothing(backend, name):
    before = set(sandboxed_processes())
    started = time.monotonic()
    result = run(HOSTILE[name], backend, seconds=1.0 if name in ENDLESS else 10.0)
    assert not result.passed
    assert ("no result within" in result.reason) == (name in ENDLESS), result.reason
    assert time.monotonic() - started < 12
    assert set(sandboxed_processes()) <= before
    left = [place for place in PLACES if list(Path(place).glob(f"{MARK}*"))]
    assert left == []


def test_the_suite_can_fail():
    """Unconfined, the harmless ones among the hostile programs do succeed."""
    for name in ("unix socket", "threads", "/etc/passwd", "this file", "sleep"):
        text = HOSTILE[name].replace("sleep(60)", "sleep(0)")
        assert run(text, UNSAFE).passed, name


def test_tests_see_the_helpers_of_the_setup_and_the_entry_point(backend):
    program = Program(
        "def double(x):\n    return [2 * v for v in x]",
        "double",
        "def total(x):\n    return sum(x)\ndef double(x):\n    pass\n",
        "def check(candidate):\n"
        "    assert total(candidate([1, 2])) == 6\n"
        "    assert double(x=[3]) == [6]\n",
    )
    result = run_program(program, backend, Limits())
    assert result.passed, result.reason


def test_plain_assertions_without_a_check_function_count(backend):
    assert run("def f():\n    return 1", backend, test="assert f() == 1\n").passed
    assert not run("def f():\n    return 1", backend, test="assert f() == 2\n").passed


def test_programs_run_side_by_side_and_keep_their_order(backend):
    programs = [
        Program(f"def f():\n    return {n}", "f", "", f"assert f() == {n if n % 2 else -1}")
        for n in range(8)
    ]
    results = list(run_programs(programs, backend, workers=4))
    assert [result.passed for result in results] == [bool(n % 2) for n in range(8)]


def test_nothing_runs_where_nothing_confines(monkeypatch):
    monkeypatch.setattr(sandbox, "probe", lambda name: f"no {name}")
    with pytest.raises(LoraparError, match="cannot confine"):
        find_backend()
    assert find_backend(unsafe=True) == UNSAFE


def test_a_backend_that_lets_something_through_is_not_offered(monkeypatch):
    monkeypatch.setattr(sandbox, "_wrapper", lambda backend, told: [])
    monkeypatch.setattr(sandbox, "_runtime_paths", lambda: ["/"])
    probe.cache_clear()
    try:
        assert "files" in probe("landlock")
    finally:
        probe.cache_clear()


def test_a_machine_without_a_table_of_system_calls_has_no_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox, "describe_system_calls", lambda machine: None)
    probe.cache_clear()
    try:
        assert probe("landlock").startswith("no table of system calls for")
        result = run("def f():\n    return 'done'", "landlock")
        assert not result.passed
    finally:
        probe.cache_clear()


# In the form of HumanEval's: a prompt, its solution, and tests of the values.
PROBLEMS = [
    {
        "task_id": "longest",
        "prompt": "from typing import List, Optional\n\n\n"
        "def longest(words: List[str]) -> Optional[str]:\n"
        '    """Returns the first of the longest words, None without words."""\n',
        "entry_point": "longest",
        "canonical_solution": "    return max(words, key=len) if words else None\n",
        "test": "def check(candidate):\n"
        "    assert candidate([]) is None\n"
        "    assert candidate(['a', 'bbb', 'ccc']) == 'bbb'\n",
    },
    {
        "task_id": "mean deviation",
        "prompt": "import math\n\ndef mean(xs):\n    return math.fsum(xs) / len(xs)\n\n"
        "def mean_deviation(xs):\n    '''Mean distance from the mean.'''\n",
        "entry_point": "mean_deviation",
        "canonical_solution": "    return mean([abs(x - mean(xs)) for x in xs])\n",
        "test": "METADATA = {}\n\ndef check(candidate):\n"
        "    assert abs(candidate([1.0, 2.0, 3.0]) - 2.0 / 3.0) < 1e-6\n"
        "    assert abs(candidate([mean([4.0]), 6.0]) - 1.0) < 1e-6\n",
    },
    {
        "task_id": "count by parity",
        "prompt": "def count_by_parity(numbers):\n    '''Even and odd ones.'''\n",
        "entry_point": "count_by_parity",
        "canonical_solution": "    odd = sum(n % 2 for n in numbers)\n"
        "    return {'even': len(numbers) - odd, 'odd': odd}, tuple(numbers)\n",
        "test": "def check(candidate):\n"
        "    assert candidate([1, 2, 3]) == ({'even': 1, 'odd': 2}, (1, 2, 3))\n"
        "    assert count_by_parity(numbers=[]) == ({'even': 0, 'odd': 0}, ())\n",
    },
]
EMPTY = "    return None\n"


def failing(rows, backend, completion=None):
    """Returns the ids of the problems whose own solution, or a given completion, fails."""
    programs = [
        Program(
            row["prompt"] + (completion or row["canonical_solution"]),
            row["entry_point"],
            row["prompt"] + "    pass\n",
            row["test"],
        )
        for row in rows
    ]
    results = run_programs(programs, backend, Limits(seconds=30))
    return [row["task_id"] for row, own in zip(rows, results, strict=True) if not own.passed]


def test_solutions_pass_and_empty_functions_fail(backend):
    assert failing(PROBLEMS, backend) == []
    assert failing(PROBLEMS, backend, EMPTY) == [row["task_id"] for row in PROBLEMS]


@pytest.mark.shared_data("humaneval")
@pytest.mark.parametrize(("completion", "count"), [(None, 0), (EMPTY, 164)])
def test_published_solutions_pass_and_empty_functions_fail(backend, completion, count):
    text = (SHARED_DATA / "humaneval" / "HumanEval.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 164
    assert len(failed := failing(rows, backend, completion)) == count, failed
