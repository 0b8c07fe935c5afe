"""Runs a coroutine to its end, also where an event loop runs already, as in a notebook's cells.

Standard library only.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_to_end(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Returns what a coroutine returns; the caller waits.

    Where this thread has a running event loop, which cannot run another one within, the coroutine
    runs in a thread of its own. An interrupt cancels it there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine, context=contextvars.copy_context())
    ended = threading.Event()

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            # What it raises is the task's, and is raised below.
            loop.run_until_complete(asyncio.wait([task]))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
            ended.set()

    try:
        threading.Thread(target=work, name="lorapar-coroutine").start()
        # Not `Thread.join`: once interrupted, it takes the thread for ended before Python 3.13.
        ended.wait()
    except RuntimeError:
        # No thread was started that could end.
        raise
    except BaseException:
        # A loop that is closed has nothing left to cancel.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    return task.result()
