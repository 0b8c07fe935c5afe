"""What runs inside the sandbox, as the text of `python -P -s -S -c`; standard library only.

Two processes in two sandboxes test one program. The *server* holds what the model wrote and answers
calls to its function. The *checker* holds the tests and sees only the values that come back, as
plain numbers, texts and containers: nothing that the model wrote can reach the tests, the result or
the checker's memory, print its way to a pass, or exit early with one.

Both confine themselves before they receive the program or the tests: resource limits, the system
calls that `system_calls.ALLOWED` lists, and Landlock for the file system where bubblewrap does not
restrict it from outside.
"""

import collections.abc
import ctypes
import decimal
import fractions
import itertools
import json
import os
import resource
import signal
import struct
import sys

_LONGEST_MESSAGE = 16 * 2**20
_MOST_ITEMS = 1_000_000


def encode_value(value):
    """Returns the JSON value of a plain value.

    Raises:
        TypeError: The value is not of a plain type.
    """
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
    raise TypeError(f"a {type(value).__name__} is not a plain value")


def decode(value):
    """Returns the plain value that `encode_value` encoded: built-in types only."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inside),) = value.items()
    return _DECODERS[tag](inside)


_DECODERS: dict[str, collections.abc.Callable] = {
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
    """The other process has ended, or sent a message that is too long."""


def receive(channel: int):
    """Returns the next message.

    Raises:
        Ended: The other process has ended, or the message is too long.
    """
    (length,) = struct.unpack("<Q", _read(channel, 8))
    if length > _LONGEST_MESSAGE:
        raise Ended("a message is too long")
    return json.loads(_read(channel, length))


def _read(channel: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(channel, min(length, 2**16))
        if not part:
            raise Ended("the other process has ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


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
_NUMBER, _ARCHITECTURE, _SECOND_ARGUMENT = 0, 4, 24
# What a filter returns: allow the call, fail it with EPERM, kill the process.
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522


def filter_program(calls: dict) -> bytes:
    """Returns the BPF program that allows the listed system calls and fails others with EPERM.

    Args:
        calls: As `system_calls.describe_system_calls` returns it.
    """
    denied, requests = calls["fcntl_denied"], calls["ioctl_allowed"]
    first = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, calls["architecture"]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    fcntl_part = [
        (_JUMP_EQUAL, 0, len(denied) + 2, calls["numbers"]["fcntl"]),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        *((_JUMP_EQUAL, "refuse", 0, command) for command in denied),
        (_RETURN, 0, 0, _ALLOW),
    ]
    ioctl_part = [
        (_JUMP_EQUAL, 0, len(requests) + 1, calls["numbers"]["ioctl"]),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        *((_JUMP_EQUAL, "allow", 0, request) for request in requests),
    ]
    plain = [(_JUMP_EQUAL, "allow", 0, number) for number in calls["allowed"]]
    body = [*first, *fcntl_part, *ioctl_part, *plain]
    ends = {"refuse": len(body), "allow": len(body) + 1}
    lines = [*body, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(
        struct.pack("<HBBI", code, ends[to] - place - 1 if to in ends else to, otherwise, value)
        for place, (code, to, otherwise, value) in enumerate(lines)
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


def _long(value: int):
    return ctypes.c_long(value)


def _set_process_option(option: int, *arguments) -> None:
    unused = [_long(0)] * (4 - len(arguments))
    _call_kernel("prctl", option, *arguments, *unused)


def confine_files(readable: list, numbers: dict) -> None:
    """Restricts this process permanently to reading below these paths (Landlock).

    Args:
        numbers: System call name -> number.
    """

    def landlock(name: str, *arguments) -> int:
        return _call_kernel("syscall", _long(numbers[f"landlock_{name}"]), *arguments)

    abi = landlock("create_ruleset", None, _long(0), _long(1))
    everything = (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1
    # Version 4 adds TCP, version 6 signals and abstract sockets of processes outside.
    attributes = struct.pack("<QQQ", everything, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = landlock("create_ruleset", attributes, _long(len(attributes)), _long(0))
    for path in readable:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        # Read files and list folders. Shared libraries are mapped, which is reading.
        access = 1 << 2 | ((1 << 3) if os.path.isdir(path) else 0)
        rule = struct.pack("<Qi", access, opened)
        landlock("add_rule", _long(rules), _long(1), rule, _long(0))
        os.close(opened)
    _set_process_option(_PR_SET_NO_NEW_PRIVS, _long(1))
    landlock("restrict_self", _long(rules), _long(0))
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
    _set_process_option(_PR_SET_NO_NEW_PRIVS, _long(1))
    _set_process_option(_PR_SET_SECCOMP, _long(_SECCOMP_MODE_FILTER), described)


def serve(channel: int) -> None:
    """Runs the program in the first message, then answers calls to its function."""
    start = receive(channel)
    namespace: dict = {"__name__": "program"}
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


def check(channel: int, result_channel: int) -> None:
    """Runs the tests against the server's function and sends the result with its nonce."""
    task = receive(result_channel)
    result = {"nonce": task["nonce"], "passed": False, "reason": ""}
    try:
        send(channel, {"program": task["program"], "entry_point": task["entry_point"]})
        first = receive(channel)
        if "error" in first:
            raise ProgramError(first["error"])
        _run_tests(task, lambda *args, **kwargs: _call(channel, args, kwargs))
        result["passed"] = True
    except ProgramError as error:
        result["reason"] = str(error)
    except Ended as error:
        result |= {"ended": True, "reason": str(error)}
    except BaseException as error:
        result["reason"] = _describe(error)
    send(result_channel, result)


class ProgramError(Exception):
    """What the program raised when the tests called it."""


def _call(channel: int, args, kwargs):
    send(channel, {"args": [encode_value(value) for value in args], "kwargs": encode_value(kwargs)})
    reply = receive(channel)
    if "error" in reply:
        raise ProgramError(str(reply["error"])[:300])
    return decode(reply["result"])


def _run_tests(task: dict, candidate) -> None:
    namespace: dict = {"__name__": "tests"}
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
    """Runs one of the two roles, `server` or `checker`.

    Args:
        settings: `channel` and, for the checker, `result_channel` (descriptors), `limits`,
            `confined` (whether to confine itself), `readable` (paths for Landlock, or None inside
            bubblewrap) and `system_calls` (as `system_calls.describe_system_calls` returns it).
    """
    sys.dont_write_bytecode = True
    limit(settings["limits"])
    if settings["confined"]:
        calls = settings["system_calls"]
        if calls is None:
            raise ConfinementError(0, f"no table of system calls for {os.uname().machine}")
        if settings["readable"] is not None:
            # Ends with the process that waits for it.
            _set_process_option(_PR_SET_PDEATHSIG, _long(signal.SIGKILL))
            confine_files(settings["readable"], calls["numbers"])
        confine_calls(calls)
    if role == "server":
        serve(settings["channel"])
    else:
        check(settings["channel"], settings["result_channel"])
