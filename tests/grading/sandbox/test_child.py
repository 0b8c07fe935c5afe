"""What runs inside the sandbox: the filter of system calls, and values on their way out."""

import errno
import json
import struct

import pytest

from lorapar_cli.grading.sandbox.child import decode, encode_value, filter_program
from lorapar_cli.grading.sandbox.system_calls import (
    ALLOWED,
    ARCHITECTURES,
    FCNTL_DENIED,
    IOCTL_ALLOWED,
    NUMBERS,
    describe_system_calls,
)

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000 | errno.EPERM


def run_filter(program: bytes, number: int, architecture: int, second_argument: int = 0) -> int:
    """Returns what the kernel's interpreter of such programs would return for a system call."""
    call = struct.pack("<iIQQQ", number, architecture, 0, 0, second_argument)
    lines = list(struct.iter_unpack("<HBBI", program))
    at, word = 0, 0
    while True:
        code, if_equal, otherwise, value = lines[at]
        at += 1
        if code == 0x20:
            (word,) = struct.unpack_from("<I", call, value)
        elif code == 0x15:
            at += if_equal if word == value else otherwise
        else:
            assert code == 0x06
            return value


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_allows_the_table_and_nothing_else(machine):
    program = filter_program(describe_system_calls(machine))
    architecture, names = ARCHITECTURES[machine], {n: name for name, n in NUMBERS[machine].items()}
    for number in range(1024):
        name = names.get(number, "")
        if name in ("fcntl", "ioctl"):
            continue
        expected = ALLOW if name in ALLOWED else REFUSE
        assert run_filter(program, number, architecture) == expected, (number, name)


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_reads_the_command_of_fcntl_and_ioctl(machine):
    program = filter_program(describe_system_calls(machine))
    architecture = ARCHITECTURES[machine]
    for command in range(2000):
        found = run_filter(program, NUMBERS[machine]["fcntl"], architecture, command)
        assert found == (REFUSE if command in FCNTL_DENIED.values() else ALLOW)
    for request in range(0x5400, 0x5500):
        found = run_filter(program, NUMBERS[machine]["ioctl"], architecture, request)
        assert found == (ALLOW if request in IOCTL_ALLOWED.values() else REFUSE)


def test_calls_in_the_form_of_another_machine_end_the_process():
    program = filter_program(describe_system_calls("x86_64"))
    assert run_filter(program, NUMBERS["x86_64"]["read"], ARCHITECTURES["aarch64"]) == KILL
    # A 32-bit call on x86_64.
    assert run_filter(program, NUMBERS["x86_64"]["read"], 0x40000003) == KILL


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 10**4000, 1.5, float("inf"), -0.0, "text", "\ud800", "", b"\x00\xff",
        [1, [2]], (1, (2,)), {1, 2}, frozenset({1}), {"a": 1, 2: (3,)}, {(1, 2): [3]}, 1 + 2j,
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_arrive_as_they_left(value):
    arrived = decode(json.loads(json.dumps(encode_value(value))))
    assert arrived == value
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


def test_iterators_arrive_as_iterators_and_subclasses_as_plain_values():
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    arrived = decode(encode_value(Sly(3)))
    assert type(arrived) is int
    assert arrived != 4
    mapped = decode(encode_value(map(str, [1, 2])))
    assert mapped != ["1", "2"]
    assert list(mapped) == ["1", "2"]
    with pytest.raises(TypeError, match="not a plain value"):
        encode_value(object())
