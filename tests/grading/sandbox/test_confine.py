"""The filter of system calls, run as the kernel runs it."""

import errno
import struct

import pytest

from lorapar_cli.grading.sandbox.confine import filter_program
from lorapar_cli.grading.sandbox.system_calls import (
    ALLOWED,
    ARCHITECTURES,
    CHECKED,
    FCNTL_DENIED,
    IOCTL_ALLOWED,
    NUMBERS,
    describe_system_calls,
)

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000 | errno.EPERM
UNKNOWN = 0x00050000 | errno.ENOSYS


def run_filter(program: bytes, number: int, architecture: int, *arguments: int) -> int:
    """Returns what the kernel's interpreter of such programs would return for a system call."""
    six = [*arguments, *[0] * (6 - len(arguments))]
    call = struct.pack("<iIQ6Q", number, architecture, 0, *six)
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
        if name in CHECKED:
            continue
        expected = ALLOW if name in ALLOWED else UNKNOWN if name == "clone3" else REFUSE
        assert run_filter(program, number, architecture) == expected, (number, name)


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_reads_the_command_of_fcntl_and_ioctl(machine):
    program = filter_program(describe_system_calls(machine))
    architecture = ARCHITECTURES[machine]
    for command in range(2000):
        found = run_filter(program, NUMBERS[machine]["fcntl"], architecture, 3, command)
        assert found == (REFUSE if command in FCNTL_DENIED.values() else ALLOW)
    for request in range(0x5400, 0x5500):
        found = run_filter(program, NUMBERS[machine]["ioctl"], architecture, 3, request)
        assert found == (ALLOW if request in IOCTL_ALLOWED.values() else REFUSE)


def test_calls_in_the_form_of_another_machine_end_the_process():
    program = filter_program(describe_system_calls("x86_64"))
    assert run_filter(program, NUMBERS["x86_64"]["read"], ARCHITECTURES["aarch64"]) == KILL
    # A 32-bit call on x86_64.
    assert run_filter(program, NUMBERS["x86_64"]["read"], 0x40000003) == KILL


@pytest.mark.parametrize("machine", NUMBERS)
def test_threads_may_start_and_processes_may_not(machine):
    program = filter_program(describe_system_calls(machine))
    clone = NUMBERS[machine]["clone"]
    # CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID.
    thread = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000
    assert run_filter(program, clone, ARCHITECTURES[machine], thread) == ALLOW
    namespaces = (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
    for flags in (0, 17, thread & ~0x10000, thread | 17, *(thread | each for each in namespaces)):
        assert run_filter(program, clone, ARCHITECTURES[machine], flags) == REFUSE, hex(flags)


@pytest.mark.parametrize("machine", NUMBERS)
def test_socket_pairs_are_streams_between_two_ends_without_addresses(machine):
    program = filter_program(describe_system_calls(machine))
    architecture, numbers = ARCHITECTURES[machine], NUMBERS[machine]

    def ask(name, *arguments):
        return run_filter(program, numbers[name], architecture, *arguments)

    stream, datagram, closed_on_exec = 1, 2, 0o2000000
    assert ask("socketpair", 1, stream | closed_on_exec) == ALLOW
    assert ask("socketpair", 1, datagram) == REFUSE
    assert ask("socketpair", 2, stream) == REFUSE
    assert ask("sendto", 5, 0x7FFF12345678, 1, 0, 0, 0) == ALLOW
    for address in (0x1000, 0x700000000000):
        assert ask("sendto", 5, 0x7FFF12345678, 1, 0, address, 110) == REFUSE
