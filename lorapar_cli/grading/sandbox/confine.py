"""What a process of the sandbox does to itself before it reads untrusted code; standard library only.

Resource limits, the system calls that `system_calls.ALLOWED` lists, and Landlock for the file
system where bubblewrap does not restrict it from outside. None of it can be undone.
"""

import ctypes
import os
import resource
import struct


def limit(limits: dict) -> None:
    """Sets resource limits of this process permanently, by the names of `resource.RLIMIT_*`."""
    for name, amount in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(number, (bound, bound))


# BPF instructions: load a word of the system call's data, compare it, return.
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
# Offsets in that data (`struct seccomp_data`).
_NUMBER, _ARCHITECTURE = 0, 4
# What a filter returns: allow the call, fail it with EPERM or ENOSYS, kill the process.
_ALLOW, _REFUSE, _UNKNOWN, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522


def filter_program(calls: dict) -> bytes:
    """Returns the BPF program that allows the listed system calls and fails others with EPERM.

    Args:
        calls: As `system_calls.describe_system_calls` returns it.
    """
    body: list = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, calls["architecture"]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number, checks in calls["checked"]:
        own: list = []
        for offset, allowed, denied in checks:
            own.append((_LOAD, 0, 0, offset))
            own += [(_JUMP_EQUAL, "refuse", 0, value) for value in denied]
            # A value of the list goes on behind the refusal.
            own += [
                (_JUMP_EQUAL, len(allowed) - place, 0, value) for place, value in enumerate(allowed)
            ]
            own += [(_RETURN, 0, 0, _REFUSE)] if allowed else []
        own.append((_RETURN, 0, 0, _ALLOW))
        body += [(_JUMP_EQUAL, 0, len(own), number), *own]
    body += [(_JUMP_EQUAL, "unknown", 0, number) for number in calls["unknown"]]
    body += [(_JUMP_EQUAL, "allow", 0, number) for number in calls["allowed"]]
    ends = {"refuse": len(body), "allow": len(body) + 1, "unknown": len(body) + 2}
    last = [(_RETURN, 0, 0, value) for value in (_REFUSE, _ALLOW, _UNKNOWN)]
    return b"".join(
        struct.pack("<HBBI", code, ends[to] - place - 1 if to in ends else to, otherwise, value)
        for place, (code, to, otherwise, value) in enumerate([*body, *last])
    )


class ConfinementError(OSError):
    """The kernel does not provide what confines a program."""


def _call_kernel(name: str, *arguments) -> int:
    result = getattr(_libc(), name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise ConfinementError(number, f"{name}({arguments[0]}): {os.strerror(number)}")
    return result


def _libc():
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def as_long(value: int):
    """Returns a number as the kernel's calls take it."""
    return ctypes.c_long(value)


def set_process_option(option: int, *arguments) -> None:
    """Calls `prctl` with these arguments, each made with `as_long`."""
    unused = [as_long(0)] * (4 - len(arguments))
    _call_kernel("prctl", option, *arguments, *unused)


# Rights of Landlock: on any file, on folders only, and those that later versions added.
_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_RIGHTS_OF_VERSION_1, _REFER, _TRUNCATE, _IOCTL_DEVICE = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15


def confine_files(readable: list, writable: list, numbers: dict) -> None:
    """Restricts this process permanently to these paths (Landlock).

    Args:
        readable: Files and folders; what is below these can be read, too.
        writable: Folders in which files and folders can be made, written and removed, and devices.
        numbers: System call name -> number.
    """

    def landlock(name: str, *arguments) -> int:
        return _call_kernel("syscall", as_long(numbers[f"landlock_{name}"]), *arguments)

    abi = landlock("create_ruleset", None, as_long(0), as_long(1))
    # What no version handles stays as the file system's own permissions have it.
    added = (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    handled = _RIGHTS_OF_VERSION_1 | added | (_IOCTL_DEVICE if abi >= 5 else 0)
    # Version 4 adds TCP, version 6 signals and abstract sockets of processes outside.
    attributes = struct.pack("<QQQ", handled, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = landlock("create_ruleset", attributes, as_long(len(attributes)), as_long(0))

    def allow(path: str, on_file: int, on_folder: int) -> None:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        rule = struct.pack("<Qi", on_folder if os.path.isdir(path) else on_file, opened)
        landlock("add_rule", as_long(rules), as_long(1), rule, as_long(0))
        os.close(opened)

    # Shared libraries are mapped, which is reading.
    reading = _READ_FILE | _READ_FOLDER
    writing = _READ_FILE | _WRITE_FILE | (added & _TRUNCATE)
    changing = _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE | (added & _REFER)
    for path in readable:
        allow(path, _READ_FILE, reading)
    for path in writable:
        allow(path, writing, writing | reading | changing)
    set_process_option(_PR_SET_NO_NEW_PRIVS, as_long(1))
    landlock("restrict_self", as_long(rules), as_long(0))
    os.close(rules)


def confine_calls(calls: dict) -> None:
    """Restricts this process permanently to the allowed system calls (seccomp).

    Args:
        calls: As `system_calls.describe_system_calls` returns it.
    """
    program = filter_program(calls)
    text = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
    # Without capabilities root has no privileges, and no program can gain any.
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _call_kernel("capset", header, b"\0" * 24)
    set_process_option(_PR_SET_NO_NEW_PRIVS, as_long(1))
    set_process_option(_PR_SET_SECCOMP, as_long(_SECCOMP_MODE_FILTER), described)
