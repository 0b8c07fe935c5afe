"""The system calls that a sandboxed program may make, by name, and their numbers by machine.

Everything that is not listed here fails in a sandboxed program: connections, processes, signals to
other processes, mounts, namespaces.

`child.py` runs as text, without this package. The runner looks its machine up here and passes
`describe_system_calls` to it with its other settings.
"""

from collections.abc import Sequence
from typing import Any

# Name -> number; checked against the kernel's headers where they are installed.
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
        "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "pwrite64": 18,
        "readv": 19, "writev": 20, "access": 21, "select": 23, "sched_yield": 24, "mremap": 25,
        "mincore": 27, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39,
        "sendto": 44, "recvfrom": 45, "getsockname": 51, "socketpair": 53,
        "clone": 56, "exit": 60, "uname": 63, "fcntl": 72, "fsync": 74, "fdatasync": 75, "ftruncate": 77,
        "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87,
        "readlink": 89, "umask": 95, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99,
        "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110,
        "getgroups": 115, "getresuid": 118, "getresgid": 120, "sigaltstack": 131,
        "arch_prctl": 158, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
        "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232,
        "epoll_ctl": 233, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263,
        "renameat": 264, "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271,
        "set_robust_list": 273, "epoll_pwait": 281, "eventfd2": 290, "epoll_create1": 291,
        "dup3": 292, "pipe2": 293, "renameat2": 316, "getrandom": 318, "membarrier": 324,
        "statx": 332, "rseq": 334, "clone3": 435, "faccessat2": 439, "landlock_create_ruleset": 444,
        "landlock_add_rule": 445, "landlock_restrict_self": 446,
    },
    "aarch64": {
        "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22,
        "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "mkdirat": 34, "unlinkat": 35,
        "renameat": 38, "ftruncate": 46, "faccessat": 48, "chdir": 49, "openat": 56, "close": 57,
        "pipe2": 59, "getdents64": 61, "lseek": 62, "read": 63, "write": 64, "readv": 65,
        "writev": 66, "pread64": 67, "pwrite64": 68, "pselect6": 72, "ppoll": 73, "readlinkat": 78,
        "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83, "exit": 93, "exit_group": 94,
        "set_tid_address": 96, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
        "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "getresuid": 148,
        "getresgid": 150, "times": 153, "getgroups": 158, "uname": 160, "getrusage": 165,
        "umask": 166, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174,
        "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179,
        "socketpair": 199, "getsockname": 204, "sendto": 206, "recvfrom": 207,
        "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222, "mprotect": 226, "mincore": 232, "madvise": 233,
        "renameat2": 276, "getrandom": 278, "membarrier": 283, "statx": 291, "rseq": 293,
        "clone3": 435, "faccessat2": 439, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
        "landlock_restrict_self": 446,
    },
}  # fmt: skip

# `AUDIT_ARCH_*`: what the kernel calls the machine when it asks a filter.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# What plain computing needs. Some have a number on one machine only.
ALLOWED = frozenset(
    (
        *("brk", "madvise", "membarrier", "mincore", "mmap", "mprotect", "mremap", "munmap"),
        # Files, by descriptor and by path; bubblewrap or Landlock decides which. Truncating by
        # path is left out: before Linux 6.2 Landlock would let a program empty the user's files.
        *("close", "dup", "dup2", "dup3", "fdatasync", "fstat", "fsync", "ftruncate", "lseek"),
        *("pipe2", "pread64", "pwrite64", "read", "readv", "write", "writev"),
        *("access", "chdir", "faccessat", "faccessat2", "getcwd", "getdents64", "lstat", "mkdir"),
        *("mkdirat", "newfstatat", "open", "openat", "readlink", "readlinkat", "rename"),
        *("renameat", "renameat2", "rmdir", "stat", "statx", "umask", "unlink", "unlinkat"),
        # Waiting for descriptors.
        *("epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "poll", "ppoll"),
        *("pselect6", "select"),
        # The ends of a socket pair of one process, as an event loop wakes itself.
        *("getsockname", "recvfrom"),
        # Time, and facts about the process and the machine.
        *("clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep"),
        *("getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getresgid"),
        *("getresuid", "getrusage", "gettid", "getuid", "getrandom", "sched_getaffinity"),
        *("sysinfo", "times", "uname"),
        # The runtime of C and its end.
        *("arch_prctl", "exit", "exit_group", "futex", "restart_syscall", "rseq", "rt_sigaction"),
        *("rt_sigprocmask", "rt_sigreturn", "sched_yield", "set_robust_list"),
        *("set_tid_address", "sigaltstack"),
    )
)
# `fcntl` is allowed but for these: the kernel would send a signal to another process.
FCNTL_DENIED = {"F_SETOWN": 8, "F_SETSIG": 10, "F_SETOWN_EX": 15}
# `ioctl` is allowed for these only: terminal or not, its size, bytes waiting, flags of descriptors.
IOCTL_ALLOWED = {
    "TCGETS": 0x5401,
    "TIOCGWINSZ": 0x5413,
    "FIONREAD": 0x541B,
    "FIONBIO": 0x5421,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
}


# `clone` is allowed for threads of the process only: the flags of glibc's and of musl's threads.
THREAD_FLAGS = (0x3D0F00, 0x7D0F00)
# `clone3` keeps its flags in memory, where no filter sees them. To the C library it does not exist.
UNKNOWN = frozenset({"clone3"})
_AF_UNIX, _SOCK_STREAM = 1, 1
_STREAM_FLAGS = (0, 0x800, 0x80000, 0x80800)  # SOCK_NONBLOCK and SOCK_CLOEXEC
# Offsets of the arguments' lower halves; the upper ones follow 4 bytes later.
_FIRST, _SECOND, _FIFTH = 16, 24, 48

Check = tuple[int, Sequence[int], Sequence[int]]
"""Offset of half an argument, the only values that it may have (any if empty), denied values."""
CHECKED: dict[str, list[Check]] = {
    "fcntl": [(_SECOND, (), tuple(FCNTL_DENIED.values()))],
    "ioctl": [(_SECOND, tuple(IOCTL_ALLOWED.values()), ())],
    "clone": [(_FIRST, THREAD_FLAGS, ())],
    # Two connected ends, which reach no other process: no datagrams, no addresses.
    "socketpair": [
        (_FIRST, (_AF_UNIX,), ()),
        (_SECOND, tuple(_SOCK_STREAM | flags for flags in _STREAM_FLAGS), ()),
    ],
    "sendto": [(_FIFTH, (0,), ()), (_FIFTH + 4, (0,), ())],
}


def describe_system_calls(machine: str) -> dict[str, Any] | None:
    """Returns what `child.py` needs to confine itself, as JSON values.

    Args:
        machine: As `os.uname().machine` names it.

    Returns:
        `architecture` (audit number), `numbers` (name -> number), `allowed` and `unknown`
        (numbers), and `checked` (number and checks of each call that depends on its arguments);
        None for a machine without a table.
    """
    if machine not in NUMBERS:
        return None
    numbers = NUMBERS[machine]
    return {
        "architecture": ARCHITECTURES[machine],
        "numbers": numbers,
        "allowed": [number for name, number in numbers.items() if name in ALLOWED],
        "unknown": [numbers[name] for name in UNKNOWN],
        "checked": [[numbers[name], checks] for name, checks in CHECKED.items()],
    }
