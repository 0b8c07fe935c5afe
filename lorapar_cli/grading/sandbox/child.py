"""What runs inside the sandbox; standard library only.

Two processes in two sandboxes test one program. The *server* holds what the model wrote and answers
calls to its function. The *checker* holds the tests and sees only the values that come back, as
plain numbers, texts and containers: nothing that the model wrote can reach the tests, the result or
the checker's memory, print its way to a pass, or exit early with one.

Both confine themselves before they receive the program or the tests.
"""

import os
import signal
import sys
import types

from lorapar_cli.grading.sandbox.confine import (
    PR_SET_PDEATHSIG,
    ConfinementError,
    as_long,
    confine_calls,
    confine_files,
    limit,
    set_process_option,
)
from lorapar_cli.grading.sandbox.peer import OWN_MODULES, Ended, Peer, receive, send

PROGRAM, TESTS = OWN_MODULES
_LONGEST_REASON = 300


class PackageFinder:
    """Finds the packages that programs may import; those around them stay out of reach.

    Args:
        places: Name -> folder or file of a package or module.
    """

    def __init__(self, places: dict) -> None:
        self._places = places

    def find_spec(self, name, path=None, target=None):
        """Returns how a package of the list is loaded, None for other names."""
        place = self._places.get(name)
        if place is None:
            return None
        import importlib.machinery
        import importlib.util

        if not os.path.isdir(place):
            return importlib.util.spec_from_file_location(name, place)
        start = os.path.join(place, "__init__.py")
        if os.path.exists(start):
            return importlib.util.spec_from_file_location(
                name, start, submodule_search_locations=[place]
            )
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [place]
        return spec


def _new_module(name: str) -> types.ModuleType:
    # Data classes and enumerations look their module up by its name.
    module = sys.modules[name] = types.ModuleType(name)
    return module


def _own_classes(module: types.ModuleType) -> dict:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def serve(channel: int) -> None:
    """Runs the program in the first message, then answers calls to its function."""
    start = receive(channel)
    module = _new_module(PROGRAM)
    # Instances of the classes of the setup alone may come from the other side.
    peer = Peer(
        channel,
        lambda: {
            name: own for name, own in _own_classes(module).items() if name in start["classes"]
        },
    )
    try:
        code = compile(start["program"], PROGRAM, "exec")
    except (SyntaxError, ValueError) as error:
        send(channel, {"failure": "syntax error", "reason": describe(error)})
        return
    except BaseException as error:
        send(channel, {"failure": kind_of(error), "reason": describe(error)})
        return
    try:
        exec(code, vars(module))
        peer.offer(vars(module)[start["entry_point"]])
        send(channel, {"ready": True})
    except BaseException as error:
        send(channel, {"failure": kind_of(error), "reason": describe(error)})
        return
    while True:
        peer.answer(receive(channel))


def check(channel: int, result_channel: int) -> None:
    """Runs the tests against the server's function and sends the result with its nonce."""
    task = receive(result_channel)
    result = {"nonce": task["nonce"], "passed": False, "failure": None, "reason": ""}
    module = _new_module(TESTS)
    peer = Peer(channel, lambda: _own_classes(module))
    try:
        exec(compile(task["setup"], "setup", "exec"), vars(module))
        start = {name: task[name] for name in ("program", "entry_point")}
        send(channel, start | {"classes": list(_own_classes(module))})
        first = receive(channel)
        if "failure" in first:
            result |= {"failure": str(first["failure"]), "reason": str(first["reason"])}
        else:
            _run_tests(task, vars(module), peer.reach({"F": 0}))
            result["passed"] = True
    except Ended as error:
        result |= {"ended": True, "failure": "exit", "reason": str(error)}
    except BaseException as error:
        # An assertion of the program itself is not one of the tests.
        own = isinstance(error, AssertionError) and not any(error is one for one in peer.raised)
        result |= {"failure": "assertion" if own else kind_of(error), "reason": describe(error)}
    send(result_channel, result)


def _run_tests(task: dict, namespace: dict, candidate) -> None:
    namespace[task["entry_point"]] = candidate
    exec(compile(task["test"], "test", "exec"), namespace)
    if "check" in namespace:
        namespace["check"](candidate)


def kind_of(error: BaseException) -> str:
    """Returns the kind of failure that an exception is."""
    if isinstance(error, MemoryError):
        return "memory"
    return "exit" if isinstance(error, SystemExit) else "exception"


def describe(error: BaseException) -> str:
    """Returns an exception's type and text, shortened."""
    try:
        return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    except BaseException:
        return "an error that cannot be shown"


def main(role: str, settings: dict) -> None:
    """Runs one of the two roles, `server` or `checker`.

    Args:
        settings: `channel` and, for the checker, `result_channel` (descriptors), `limits`,
            `confined` (whether to confine itself), `readable` and `writable` (paths for Landlock,
            or None inside bubblewrap), `packages` (name -> place) and `system_calls` (as
            `system_calls.describe_system_calls` returns it).
    """
    sys.dont_write_bytecode = True
    sys.meta_path.append(PackageFinder(settings["packages"]))
    limit(settings["limits"])
    if settings["confined"]:
        calls = settings["system_calls"]
        if calls is None:
            raise ConfinementError(0, f"no table of system calls for {os.uname().machine}")
        if settings["readable"] is not None:
            # Ends with the process that waits for it.
            set_process_option(PR_SET_PDEATHSIG, as_long(signal.SIGKILL))
            confine_files(settings["readable"], settings["writable"], calls["numbers"])
        confine_calls(calls)
    if role == "server":
        serve(settings["channel"])
    else:
        check(settings["channel"], settings["result_channel"])
