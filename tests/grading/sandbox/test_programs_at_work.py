"""What ordinary programs and their tests may do in the sandbox, the same in both of its forms."""

import pytest

from lorapar_cli.grading.sandbox.packages import find_packages
from lorapar_cli.grading.sandbox.process import BACKENDS
from lorapar_cli.grading.sandbox.runner import Limits, Program, Sandbox, probe, run_program

DONE = "def check(candidate):\n    assert candidate() == 'done'\n"
POINT = (
    "from dataclasses import dataclass\n\n@dataclass\nclass Point:\n    x: int\n    next: 'Point' = None\n\n"
    "class Broke(Exception):\n    def __init__(self, owed):\n        super().__init__('broke')\n"
    "        self.owed = owed\n"
)


@pytest.fixture(params=BACKENDS)
def backend(request):
    if (why := probe(request.param)) is not None:
        pytest.skip(f"{request.param} does not hold on this machine: {why}")
    return request.param


def run(backend, text, test=DONE, setup="", packages=(), **limits):
    sandbox = Sandbox(backend, Limits(**limits), find_packages(packages))
    return run_program(Program(setup + text, "f", setup, test), sandbox)


WORKING = {
    "threads": "import threading\n"
    "def f():\n"
    "    found = []\n"
    "    threads = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]\n"
    "    for t in threads:\n        t.start()\n"
    "    for t in threads:\n        t.join()\n"
    "    return 'done' if sorted(found) == list(range(8)) else found\n",
    "asyncio": "import asyncio\n"
    "async def g(n):\n    await asyncio.sleep(0.001)\n    return n\n"
    "async def h():\n"
    "    both = await asyncio.gather(g(1), asyncio.to_thread(lambda: 2))\n"
    "    return 'done' if both == [1, 2] else both\n"
    "def f():\n    return asyncio.run(h())\n",
    "tempfile": "import os, tempfile\n"
    "def f():\n"
    "    with tempfile.TemporaryDirectory() as folder:\n"
    "        path = os.path.join(folder, 'a')\n"
    "        open(path, 'w').write('do')\n"
    "        os.rename(path, path + 'b')\n"
    "        with tempfile.NamedTemporaryFile('w+') as file:\n"
    "            file.write('ne')\n            file.seek(0)\n"
    "            return open(path + 'b').read() + file.read()\n",
    "the working folder": "def f():\n"
    "    open('notes.txt', 'w').write('done')\n    return open('notes.txt').read()\n",
    "devnull": "import contextlib, os\n"
    "def f():\n"
    "    with open(os.devnull, 'w') as none, contextlib.redirect_stdout(none):\n"
    "        print('nothing')\n"
    "    return 'done' + open(os.devnull).read()\n",
    "20 MB to stdout": "import sys\n"
    "def f():\n"
    "    for _ in range(20):\n        sys.stdout.write('x' * 2**20)\n"
    "    return 'done'\n",
    "20 MB to stderr": "import sys\n"
    "def f():\n"
    "    for _ in range(20):\n        sys.stderr.write('x' * 2**20)\n"
    "    return 'done'\n",
    "whole numbers of any length": "def f():\n"
    "    print(7**9000)\n    return 'done' if len(str(7**9000)) == 7606 else ''\n",
    "deep recursion within limits": "import sys\nsys.setrecursionlimit(60000)\n"
    "def g(n):\n    return n and 1 + g(n - 1)\n"
    "def f():\n    return 'done' if g(50000) == 50000 else ''\n",
    "10 MB of source": "# " + "x" * 10**7 + "\ndef f():\n    return 'done'\n",
    "half a surrogate pair": "def f():\n    print('\\ud800')\n    return 'done'\n",
}


@pytest.mark.parametrize("name", WORKING)
def test_programs_may(backend, name):
    result = run(backend, WORKING[name])
    assert result.passed, result


TESTED = {
    "exceptions keep their type": (
        "class Bad(ValueError):\n    pass\ndef f():\n    raise Bad('a', 1)\n",
        "def check(candidate):\n"
        "    try:\n        candidate()\n"
        "    except ValueError as error:\n        assert error.args == ('a', 1)\n"
        "    else:\n        assert False\n",
    ),
    "assertRaises of a class of the prompt": (
        "def f():\n    raise Broke(3)\n",
        "import unittest\n"
        "def check(candidate):\n"
        "    with unittest.TestCase().assertRaises(Broke) as caught:\n        candidate()\n"
        "    assert caught.exception.owed == 3\n",
    ),
    "arguments change in place": (
        "def f(xs, table):\n    xs.sort()\n    table['first'] = xs[0]\n",
        "def check(candidate):\n"
        "    xs, table = [3, 1, 2], {}\n"
        "    assert candidate(xs, table) is None\n"
        "    assert (xs, table) == ([1, 2, 3], {'first': 1})\n",
    ),
    "instances of a class of the prompt": (
        "def f(point):\n    return Point(point.x + 1, point)\n",
        "def check(candidate):\n"
        "    first = Point(1)\n"
        "    assert candidate(first) == Point(2, Point(1))\n"
        "    assert candidate(first).next is first\n",
    ),
    "functions as arguments and results": (
        "def f(g, n):\n    return lambda m: g(m) + n\n",
        "def check(candidate):\n    assert candidate(lambda x: 10 * x, 1)(4) == 41\n",
    ),
    "generators without end": (
        "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1\n",
        "from itertools import islice\n"
        "def check(candidate):\n    assert list(islice(candidate(), 3000)) == list(range(3000))\n",
    ),
    "iterators of a class of the program": (
        "class Up:\n"
        "    def __init__(self):\n        self.n = 0\n"
        "    def __iter__(self):\n        return self\n"
        "    def __next__(self):\n        self.n += 1\n        return self.n\n"
        "def f():\n    return Up()\n",
        "def check(candidate):\n"
        "    numbers = candidate()\n"
        "    assert [next(numbers), next(numbers)] == [1, 2]\n",
    ),
    "coroutines": (
        "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    return n + 1\n",
        "import asyncio\ndef check(candidate):\n    assert asyncio.run(candidate(1)) == 2\n",
    ),
    "texts with half a surrogate pair": (
        "def f(text):\n    return text * 2\n",
        "def check(candidate):\n    assert candidate('\\ud800') == '\\ud800\\ud800'\n",
    ),
}


@pytest.mark.parametrize("name", TESTED)
def test_tests_see(backend, name):
    text, test = TESTED[name]
    result = run(backend, text, test, POINT)
    assert result.passed, result


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("def f(:\n", "syntax error"),
        ("def f():\n    return '\0'\n", "syntax error"),
        ("def f():\n    while True:\n        pass\n", "timeout"),
        ("def f():\n    return 'x' * 10**10\n", "memory"),
        ("def f():\n    return 'dome'\n", "assertion"),
        ("def f():\n    assert 1 == 2\n", "exception"),
        ("def f():\n    return 1 / 0\n", "exception"),
        ("def g():\n    return 'done'\n", "exception"),
        ("import sys\nsys.exit(0)\n", "exit"),
        ("import os\ndef f():\n    os._exit(0)\n", "exit"),
        ("import ctypes\ndef f():\n    ctypes.string_at(0)\n", "exit"),
    ],
)
def test_failures_have_a_kind_that_can_be_counted(backend, text, failure):
    result = run(backend, text, seconds=1 if failure == "timeout" else 10)
    assert (result.passed, result.failure) == (False, failure), result
    assert result.reason


def test_time_and_memory_are_what_the_limits_say(backend):
    slow = "import time\ndef f():\n    time.sleep(1.5)\n    return 'done'\n"
    assert run(backend, slow, seconds=1).failure == "timeout"
    assert run(backend, slow, seconds=20).passed
    large = "def f():\n    return 'done' if len(bytearray(300 * 2**20)) else ''\n"
    assert run(backend, large, memory_mib=200).failure == "memory"
    assert run(backend, large, memory_mib=600).passed


def test_named_packages_can_be_imported_and_others_cannot(backend):
    pytest.importorskip("numpy")
    text = "import numpy as np\ndef f(xs):\n    return np.sort(np.array(xs)), np.int64(3), np.bool_(1)\n"
    test = (
        "import numpy as np\n"
        "def check(candidate):\n"
        "    ordered, three, truth = candidate([3, 1, 2])\n"
        "    assert isinstance(ordered, np.ndarray) and np.allclose(ordered, [1, 2, 3])\n"
        "    assert three == 3 and truth is True\n"
    )
    assert run(backend, text, test, packages=["numpy"]).passed
    without = run(backend, text, test)
    assert without.failure == "exception"
    assert without.reason.startswith("ModuleNotFoundError: No module named 'numpy'")
    other = run(backend, "import yaml\ndef f():\n    return 'done'\n", packages=["numpy"])
    assert other.reason.startswith("ModuleNotFoundError")


def test_a_program_does_not_hang_on_the_folder_that_it_fills(backend):
    text = (
        "import os\n"
        "def f():\n"
        "    for n in range(40):\n"
        "        with open(f'part-{n}', 'wb') as file:\n            file.write(bytes(2**20))\n"
        "    return 'done'\n"
    )
    slower = text.replace("    return", "    import time\n    time.sleep(1)\n    return")
    assert not run(backend, slower).passed
