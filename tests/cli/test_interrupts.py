"""Ctrl-C that arrives where Python ignores exceptions still ends the command."""

import subprocess
import sys

import pytest

from tests.cli.terminal import run_in_terminal

# Each line makes Python call `interrupted` where it ignores what is raised.
PLACES = {
    "finaliser": "Held()\n",
    "weak reference": "kept = Other(); reference = weakref.ref(kept, interrupted); del kept\n",
    "garbage collection": "import gc; pair = Held(); pair.own = pair; del pair; gc.collect()\n",
    "C callback": ("import ctypes\ncall = ctypes.CFUNCTYPE(None)(lambda: interrupted())\ncall()\n"),
}
START = """
import os, signal, sys, time, weakref
from lorapar_cli.cli import main
from lorapar_cli.cli.commands import doctor

def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass

class Held:
    def __del__(self):
        interrupted()

class Other:
    pass

def command():
    {place}
    print("goes on", flush=True)
    time.sleep(600)
    print("not interrupted")

doctor.doctor = command
main.main(["doctor"])
"""


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_in_a_callback_ends_the_command(place):
    code = START.replace("{place}", PLACES[place].replace("\n", "\n    "))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "goes on\n")
    assert done.stderr == "interrupted\n"


def test_other_exceptions_in_finalisers_are_reported_as_before():
    code = (
        "from lorapar_cli.cli.interrupts import keep_interrupts\nkeep_interrupts()\n"
        "class Held:\n    def __del__(self): raise ValueError('told')\n"
        "Held()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "ValueError: told" in done.stderr


def test_an_interrupt_just_before_the_wait_for_an_answer_ends_it():
    # All within one call of `map`, which is C: Python takes no step of its own between the two.
    code = (
        "import ctypes, operator, select, signal\n"
        "from functools import partial\n"
        "from lorapar_cli.cli.interrupts import read_answer\n"
        "late = partial(getattr(ctypes.CDLL(None), 'raise'), signal.SIGINT)\n"
        "wait = select.select\n"
        "select.select = lambda *to: [*map(operator.call, (late, partial(wait, *to)))]\n"
        "try:\n    read_answer()\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    assert run_in_terminal(["-c", code], seconds=20).text == "interrupted"
