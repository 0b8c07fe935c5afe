"""The process of a role: it does its work over its channels, and ends with its block."""

import socket
import struct

import pytest

from lorapar_cli.grading.sandbox.packages import Packages
from lorapar_cli.grading.sandbox.peer import Ended, Peer, receive, send
from lorapar_cli.grading.sandbox.process import BACKENDS, UNSAFE, role_process
from lorapar_cli.grading.sandbox.runner import Limits, probe

RLIMITS = Limits().to_rlimits()
START = {
    "program": "import os\ndef f(x):\n    return os.getpid(), x + 1",
    "entry_point": "f",
    "classes": [],
}


@pytest.fixture(params=[*BACKENDS, UNSAFE])
def backend(request):
    if request.param != UNSAFE and (why := probe(request.param)) is not None:
        pytest.skip(f"{request.param} does not hold on this machine: {why}")
    return request.param


@pytest.fixture
def channels():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # A process that never answers fails the test instead of blocking it.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 20, 0))
        yield ours, theirs


def test_a_server_answers_until_its_block_ends(backend, channels):
    ours, theirs = channels
    with role_process("server", backend, RLIMITS, Packages(), None, channel=theirs):
        theirs.close()
        send(ours.fileno(), START)
        assert receive(ours.fileno()) == {"ready": True}
        function = Peer(ours.fileno(), dict).reach({"F": 0})
        for value in (1, 41):
            pid, result = function(value)
            assert pid > 0
            assert result == value + 1
    with pytest.raises(Ended):
        receive(ours.fileno())


def test_last_words_are_the_end_of_stderr(backend, channels):
    ours, theirs = channels
    with role_process("server", backend, RLIMITS, Packages(), None, channel=theirs) as running:
        theirs.close()
        ours.sendall(struct.pack("<Q", 2) + b"{]")
        with pytest.raises(Ended):
            receive(ours.fileno())
    assert running.last_words.startswith("json.decoder.JSONDecodeError: ")


def test_a_process_that_wrote_nothing_says_so(channels):
    _, theirs = channels
    with role_process("server", UNSAFE, RLIMITS, Packages(), None, channel=theirs) as running:
        pass
    assert running.last_words == "nothing on stderr"
