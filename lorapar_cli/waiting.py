"""Runs a coroutine to its end, also where an event loop runs already, as in a notebook's cells.

Standard library only.
"""

import asyncio
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

    def work() -> None:
        asyncio.set_event_loop(loop)
        # What it raises is the task's, and is raised below.
        loop.run_until_complete(asyncio.wait([task]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=work, name="lorapar-coroutine")
    try:
        thread.start()
        thread.join()
    except BaseException:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    finally:
        loop.close()
    return task.result()
