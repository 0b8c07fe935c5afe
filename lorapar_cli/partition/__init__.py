"""Wing of `partition`.

The stage's function has the name of its wing. Importing any module of the wing binds this package
to `lorapar_cli.partition`, where the Python interface offers the function; therefore the package
can be called, and is the function then.
"""

import sys
from types import ModuleType
from typing import Any


class _CallableWing(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from lorapar_cli.partition.partition import partition

        return partition(*arguments, **named)


sys.modules[__name__].__class__ = _CallableWing
