"""What runs inside the sandbox, as the text of `python -I -S -c`; standard library only.

Two processes in two sandboxes judge one program. The *server* holds what the model wrote and
answers calls of its function. The *checker* holds the tests and sees only the values that come
back, as plain numbers, texts and containers: nothing that the model wrote can reach the tests, the
verdict or the checker's memory, print its way to a pass or leave early with one.

Both confine themselves before they read a line of either: resource limits, a list of the system
calls that plain computing needs (no sockets, processes, threads, signals to others), and, where no
bubblewrap does it from outside, Landlock for the file system.
"""

import collections.abc
import ctypes
import decimal
import fractions
import itertools
import json
import os
import resource
import struct
import sys

_LONGEST_MESSAGE = 16 * 2**20
_MOST_ITEMS = 1_000_000


def encode_value(value):
    """Returns the JSON value of a plain value; what is not plain raises TypeError."""
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return {"i": hex(int(value))}
    if isinstance(value, float):
        return {"f": float(value).hex()}
    if isinstance(value, list):
        return [encode_value(item) for item in value]
    if isinstance(value, dict):
        return {"d": [[encode_value(key), encode_value(item)] for key, item in value.items()]}
    for tag, kind in (("t", tuple), ("s", set), ("z", frozenset), ("n", collections.abc.Iterator)):
        if isinstance(value, kind):
            return {tag: [encode_value(item) for item in itertools.islice(value, _MOST_ITEMS)]}
    if isinstance(value, (bytes, bytearray)):
        return {"b": bytes(value).hex()}
    if isinstance(value, complex):
        return {"c": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, fractions.Fraction):
        return {"q": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, decimal.Decimal):
        return {"D": str(value)}
    if isinstance(value, (range, collections.abc.KeysView, collections.abc.ValuesView)):
        return {"n": [encode_value(item) for item in itertools.islice(value, _MOST_ITEMS)]}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def decode(value):
    """Returns the plain value that `encode_value` described: built-in types only."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inside),) = value.items()
    return _DECODERS[tag](inside)


_DECODERS = {
    "i": lambda text: int(text, 16),
    "f": float.fromhex,
    "d": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "t": lambda items: tuple(map(decode, items)),
    "s": lambda items: set(map(decode, items)),
    "z": lambda items: frozenset(map(decode, items)),
    "n": lambda items: iter([decode(item) for item in items]),
    "b": bytes.fromhex,
    "c": lambda parts: complex(*map(float.fromhex, parts)),
    "q": lambda parts: fractions.Fraction(*(int(part, 16) for part in parts)),
    "D": decimal.Decimal,
}


def send(channel: int, message) -> None:
    """Writes one message: its length in 8 bytes, then JSON."""
    payload = json.dumps(message).encode()
    view = memoryview(struct.pack("<Q", len(payload)) + payload)
    while view:
        view = view[os.write(channel, view) :]


class Ended(EOFError):
    """The other side is gone, or sends too much."""


def receive(channel: int):
    """Returns the next message; raises Ended where the other side is gone or sends too much."""
    (length,) = struct.unpack("<Q", _read(channel, 8))
    if length > _LONGEST_MESSAGE:
        raise Ended("a message is too long")
    return json.loads(_read(channel, length))


def _read(channel: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(channel, min(length, 2**16))
        if not part:
            raise Ended("the other side has ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def limit(limits: dict) -> None:
    """Sets resource limits of this process for good; a name is one of `resource.RLIMIT_*`."""
    for name, amount in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(number, (bound, bound))


# System call numbers of what plain computing needs, by machine: memory, time, files, exit. Not
# truncating by path: Landlock before Linux 6.2 would let a program empty the user's files so.
_ALLOWED = {
    "x86_64": (
        *range(0, 16), *range(17, 22), 23, 24, 25, 27, 28, 32, 33, 35, 39, 60, 63, 74, 75, 77, 79,
        80, 82, 83, 84, 87, 89, 95, 96, 98, 99, 100, 102, 104, 107, 108, 110, 115, 118, 120,
        131, 158, 186, 202, 204, 217, 218, 219, 228, 229, 230, 231, 232, 233, 257, 258, 262, 263,
        264, 267, 269, 270, 271, 273, 281, 290, 291, 292, 293, 316, 318, 324, 332, 334, 439,
    ),
    "aarch64": (
        17, *range(19, 25), 34, 35, 38, 46, 48, 49, 56, 57, 59, *range(61, 69), 72, 73, 78, 79,
        80, 82, 83, 93, 94, 96, 98, 99, 101, 113, 114, 115, 123, 124, 128, 132, 134, 135, 139, 148,
        150, 153, 158, 160, 165, 166, 169, *range(172, 180), 214, 215, 216, 222, 226, 232, 233,
        276, 278, 283, 291, 293, 439,
    ),
}  # fmt: skip
# Machine -> its audit number, fcntl, ioctl.
_MACHINES = {"x86_64": (0xC000003E, 72, 16), "aarch64": (0xC00000B7, 25, 29)}
# Commands that would have the kernel send a signal to another process.
_FCNTL_DENIED = (8, 10, 15)
# Terminal or not, window size, bytes waiting, close-on-exec, non-blocking.
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000


def filter_program(machine: str) -> bytes:
    """Returns the BPF program that lets the allowed system calls through; others fail (EPERM)."""
    audit, fcntl, ioctl = _MACHINES[machine]
    allowed = [number for number in _ALLOWED[machine] if number not in (fcntl, ioctl)]
    first = [(_LOAD, 0, 0, 4), (_JUMP_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    fcntl_part = [
        (_JUMP_EQUAL, 0, len(_FCNTL_DENIED) + 2, fcntl),
        (_LOAD, 0, 0, 24),
        *((_JUMP_EQUAL, "refuse", 0, command) for command in _FCNTL_DENIED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    ioctl_part = [
        (_JUMP_EQUAL, 0, len(_IOCTL_ALLOWED) + 1, ioctl),
        (_LOAD, 0, 0, 24),
        *((_JUMP_EQUAL, "allow", 0, command) for command in _IOCTL_ALLOWED),
    ]
    plain = [(_JUMP_EQUAL, "allow", 0, number) for number in allowed]
    body = [*first, *fcntl_part, *ioctl_part, *plain]
    ends = {"refuse": len(body), "allow": len(body) + 1}
    lines = [*body, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(
        struct.pack("<HBBI", code, ends[to] - place - 1 if to in ends else to, otherwise, value)
        for place, (code, to, otherwise, value) in enumerate(lines)
    )


class Refused(OSError):
    """The kernel does not offer what confines a program."""


def _call_kernel(name: str, *arguments) -> int:
    result = getattr(_libc(), name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise Refused(number, f"{name}({arguments[0]}): {os.strerror(number)}")
    return result


def _libc():
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def _long(value: int):
    return ctypes.c_long(value)


def confine_files(readable: list) -> None:
    """Leaves the process nothing of the file system but reading below these paths (Landlock)."""
    abi = _call_kernel("syscall", _long(444), None, _long(0), _long(1))
    everything = (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1
    # From version 4 on TCP, from 6 on signals and abstract sockets of processes outside.
    attributes = struct.pack("<QQQ", everything, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _call_kernel("syscall", _long(444), attributes, _long(len(attributes)), _long(0))
    for path in readable:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        # Read file, and for folders list and execute (shared libraries are mapped, not executed).
        access = 1 << 2 | ((1 << 3) if os.path.isdir(path) else 0)
        rule = struct.pack("<Qi", access, opened)
        _call_kernel("syscall", _long(445), _long(rules), _long(1), rule, _long(0))
        os.close(opened)
    _call_kernel("prctl", 38, _long(1), _long(0), _long(0), _long(0))
    _call_kernel("syscall", _long(446), _long(rules), _long(0))
    os.close(rules)


def confine_calls() -> None:
    """Leaves the process the system calls that plain computing needs (seccomp), for good."""
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise Refused(0, f"no list of system calls for {machine}")
    program = filter_program(machine)
    text = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
    # Without capabilities root is nobody, and no program may gain any.
    header = struct.pack("<Ii", 0x20080522, 0)
    _call_kernel("capset", header, b"\0" * 24)
    _call_kernel("prctl", 38, _long(1), _long(0), _long(0), _long(0))
    _call_kernel("prctl", 22, _long(2), described, _long(0), _long(0))


def serve(channel: int) -> None:
    """Runs the program that the first message holds, then answers calls of its function."""
    start = receive(channel)
    namespace = {"__name__": "program"}
    try:
        exec(compile(start["program"], "program", "exec"), namespace)
        function = namespace[start["entry_point"]]
        send(channel, {"ready": True})
    except BaseException as error:
        send(channel, {"error": _describe(error)})
        return
    while True:
        call = receive(channel)
        try:
            result = function(*map(decode, call["args"]), **decode(call["kwargs"]))
            reply = {"result": encode_value(result)}
            json.dumps(reply)
        except BaseException as error:
            reply = {"error": _describe(error)}
        send(channel, reply)


def check(channel: int, verdict: int) -> None:
    """Runs the tests against the server's function and writes the verdict with its nonce."""
    task = receive(verdict)
    outcome = {"nonce": task["nonce"], "passed": False, "reason": ""}
    try:
        send(channel, {"program": task["program"], "entry_point": task["entry_point"]})
        first = receive(channel)
        if "error" in first:
            raise ProgramError(first["error"])
        _run_tests(task, lambda *args, **kwargs: _call(channel, args, kwargs))
        outcome["passed"] = True
    except ProgramError as error:
        outcome["reason"] = str(error)
    except Ended as error:
        outcome |= {"ended": True, "reason": str(error)}
    except BaseException as error:
        outcome["reason"] = _describe(error)
    send(verdict, outcome)


class ProgramError(Exception):
    """What the program raised where the tests called it."""


def _call(channel: int, args, kwargs):
    send(channel, {"args": [encode_value(value) for value in args], "kwargs": encode_value(kwargs)})
    reply = receive(channel)
    if "error" in reply:
        raise ProgramError(str(reply["error"])[:300])
    return decode(reply["result"])


def _run_tests(task: dict, candidate) -> None:
    namespace = {"__name__": "tests"}
    exec(compile(task["setup"], "setup", "exec"), namespace)
    namespace[task["entry_point"]] = candidate
    exec(compile(task["test"], "test", "exec"), namespace)
    if "check" in namespace:
        namespace["check"](candidate)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an error that cannot be shown"


def main(role: str, settings: dict) -> None:
    """Takes one of the two roles.

    Args:
        settings: `channel` and `verdict` (descriptors), `limits`, `confined` (whether to confine
            itself) and `readable` (paths for Landlock, or None inside bubblewrap).
    """
    sys.dont_write_bytecode = True
    limit(settings["limits"])
    if settings["confined"]:
        if settings["readable"] is not None:
            # Gone with the process that waits for it.
            _call_kernel("prctl", 1, _long(9), _long(0), _long(0), _long(0))
            confine_files(settings["readable"])
        confine_calls()
    if role == "server":
        serve(settings["channel"])
    else:
        check(settings["channel"], settings["verdict"])
