"""The tables of system calls against the kernel's headers and the standard library."""

import fcntl
import re
import termios
from pathlib import Path

import pytest

from lorapar_cli.grading.sandbox.system_calls import (
    ALLOWED,
    ARCHITECTURES,
    CHECKED,
    FCNTL_DENIED,
    IOCTL_ALLOWED,
    NUMBERS,
    UNKNOWN,
    describe_system_calls,
)

# Where distributions put each machine's table. The generic one is aarch64's.
HEADERS = {
    "x86_64": (
        "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "/usr/include/asm/unistd_64.h",
        "/usr/x86_64-linux-gnu/include/asm/unistd_64.h",
    ),
    "aarch64": (
        "/usr/include/asm-generic/unistd.h",
        "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h",
    ),
}
MACHINE_NUMBERS = {"x86_64": ("EM_X86_64", 62), "aarch64": ("EM_AARCH64", 183)}


def defined_numbers(path: Path) -> dict[str, int]:
    """Returns the names that a header defines as `__NR_...`, aliases resolved."""
    defined: dict[str, int] = {}
    for name, value in re.findall(r"^#define (__NR\w*)\s+(\w+)", path.read_text(), re.MULTILINE):
        if value.isdecimal():
            defined[name] = int(value)
        elif value in defined:
            defined[name] = defined[value]
    return {name.removeprefix("__NR_"): number for name, number in defined.items()}


@pytest.mark.parametrize("machine", NUMBERS)
def test_numbers_equal_the_kernels_headers(machine):
    found = [Path(name) for name in HEADERS[machine] if Path(name).is_file()]
    if not found:
        pytest.skip(f"no kernel headers of {machine}: {', '.join(HEADERS[machine])}")
    defined = defined_numbers(found[0])
    assert NUMBERS[machine] == {name: defined[name] for name in NUMBERS[machine]}


@pytest.mark.parametrize("machine", NUMBERS)
def test_architecture_is_the_elf_machine_64_bit_and_little_endian(machine):
    name, number = MACHINE_NUMBERS[machine]
    assert ARCHITECTURES[machine] == 0x80000000 | 0x40000000 | number
    header = Path("/usr/include/linux/elf-em.h")
    if not header.is_file():
        pytest.skip(f"no kernel header `{header}`")
    assert re.search(rf"^#define {name}\s+{number}\b", header.read_text(), re.MULTILINE)


def test_commands_of_fcntl_and_ioctl_equal_the_standard_librarys():
    known = vars(fcntl) | vars(termios)
    ours = FCNTL_DENIED | IOCTL_ALLOWED
    checked = {name: number for name, number in ours.items() if name in known}
    assert len(checked) >= 7
    assert checked == {name: known[name] for name in checked}


def test_every_allowed_name_has_a_number_and_every_number_a_use():
    named = {name for numbers in NUMBERS.values() for name in numbers}
    landlock = {f"landlock_{verb}" for verb in ("create_ruleset", "add_rule", "restrict_self")}
    assert named == ALLOWED | set(CHECKED) | UNKNOWN | landlock
    assert not ALLOWED & (set(CHECKED) | UNKNOWN | landlock)
    for numbers in NUMBERS.values():
        assert len(set(numbers.values())) == len(numbers)
        assert {"fcntl", "ioctl", "read", "write", "exit_group"} | landlock <= set(numbers)


@pytest.mark.parametrize(
    "name",
    [
        *("socket", "connect", "bind", "sendmsg", "fork", "vfork", "execve", "execveat", "kill"),
        *("tkill", "tgkill", "ptrace", "mount", "unshare", "setns", "truncate", "prlimit64"),
        *("prctl", "seccomp", "bpf", "io_uring_setup", "pidfd_send_signal", "process_vm_writev"),
    ],
)
def test_what_would_reach_outside_is_not_allowed(name):
    assert all(name not in numbers for numbers in NUMBERS.values())


def test_a_machine_without_a_table_has_no_description():
    assert describe_system_calls("riscv64") is None
