"""Values as JSON, on their way between the two processes of the sandbox; standard library only.

Values travel as plain data, never as code: numbers, texts and containers of built-in types.
Containers are numbered within one call and its reply, so that shared and cyclic ones arrive as
such, and an argument that the callee changed in place can be changed in the caller as well. A
function, iterator or coroutine stays where it is: the other process gets a function that calls it.
"""

import collections
import collections.abc
import datetime
import decimal
import fractions
import itertools
import re

_MOST_AT_ONCE = 4096
_EXACT_INTEGERS = 2**53
# The types that may be passed themselves, as in `convert(["1"], int)`.
_TYPES = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}
_MOMENTS = {kind.__name__: kind for kind in (datetime.date, datetime.datetime, datetime.time)}
_ARRAY = re.compile(r"[<>|=]?[biufcU]\d+")


class Encoder:
    """Turns values into JSON values, numbering their containers from `len(known)` on.

    Args:
        offer: Returns the JSON value that stands for a function.
        classes: Name -> class of the instances that both processes know.
        known: Containers that both processes have, in the order of their numbers.
    """

    def __init__(self, offer, classes: dict, known=()) -> None:
        self._offer, self._classes = offer, classes
        # Kept alive, for an identity is unique only among what lives.
        self.containers = list(known)
        self._numbers = {id(container): number for number, container in enumerate(known)}
        self.contents: list = []
        self._written = len(self.containers)

    def encode(self, value):
        """Returns the JSON value of a value; the contents of its containers go to `contents`.

        Raises:
            TypeError: The value is not plain.
        """
        item = self._item(value)
        while self._written < len(self.containers):
            self.contents.append(self.describe(self.containers[self._written]))
            self._written += 1
        return item

    def describe(self, container) -> list:
        """Returns a container's kind and the JSON values of what it contains."""
        kind = describe_kind(container)
        if kind == "bytearray":
            return [kind, bytes(container).hex()]
        parts = container
        if kind == "dict" or kind.startswith("object "):
            own = container if kind == "dict" else vars(container)
            # A function as an attribute could stand for a method of the class.
            kept = [pair for pair in own.items() if kind == "dict" or not callable(pair[1])]
            parts = itertools.chain.from_iterable(kept)
        return [kind, [self._item(part) for part in list(parts)]]

    def _item(self, value):
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            number = int(value)
            return number if abs(number) < _EXACT_INTEGERS else {"i": hex(number)}
        if isinstance(value, float):
            return float(value)
        if isinstance(value, tuple(_CONTAINERS.values())) or self._is_shared(value):
            number = self._numbers.get(id(value))
            if number is None:
                number = self._numbers[id(value)] = len(self.containers)
                self.containers.append(value)
            return {"r": number}
        return self._other(value)

    def _is_shared(self, value) -> bool:
        kind = type(value)
        return self._classes.get(kind.__name__) is kind and hasattr(value, "__dict__")

    def _other(self, value):
        for tag, kinds, spell in _SPELLINGS:
            if isinstance(value, kinds):
                return {tag: spell(value)}
        if isinstance(value, collections.abc.KeysView):
            return {"V": ["keys", self._item(dict.fromkeys(value))]}
        if isinstance(value, collections.abc.ItemsView):
            return {"V": ["items", self._item(dict(value))]}
        if isinstance(value, collections.abc.ValuesView):
            return {"V": ["values", self._item(dict(enumerate(value)))]}
        if isinstance(value, collections.abc.Awaitable):
            return {"w": self._offer(_runner(value))}
        if isinstance(value, collections.abc.Iterator):
            return {"n": self._offer(_taker(value))}
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"y": value.__name__}
        if type(value).__module__ == "numpy":
            return self._array(value)
        if callable(value):
            return self._offer(value)
        raise TypeError(f"a {type(value).__name__} is not a plain value")

    def _array(self, value):
        if not hasattr(value, "dtype") or not _ARRAY.fullmatch(value.dtype.str):
            raise TypeError(f"a {type(value).__name__} is not a plain value")
        if value.ndim == 0 and type(value).__name__ != "ndarray":
            return self._item(value.item())
        return {"A": [value.dtype.str, list(value.shape), self._item(value.ravel().tolist())]}


_CONTAINERS: dict[str, type] = {
    "list": list,
    "dict": dict,
    "set": set,
    "bytearray": bytearray,
    "deque": collections.deque,
    "tuple": tuple,
    "frozenset": frozenset,
}
_IMMUTABLE = {"tuple": tuple, "frozenset": frozenset}
_SPELLINGS: list = [
    ("b", bytes, bytes.hex),
    ("c", complex, lambda value: [value.real.hex(), value.imag.hex()]),
    ("q", fractions.Fraction, lambda value: [hex(value.numerator), hex(value.denominator)]),
    ("D", decimal.Decimal, str),
    ("R", range, lambda value: [hex(part) for part in (value.start, value.stop, value.step)]),
    (
        "m",
        tuple(_MOMENTS.values()),
        lambda value: [
            next(name for name in reversed(_MOMENTS) if isinstance(value, _MOMENTS[name])),
            value.isoformat(),
        ],
    ),
    ("d", datetime.timedelta, lambda value: [value.days, value.seconds, value.microseconds]),
]
_READINGS: dict = {
    "i": lambda text: int(text, 16),
    "b": bytes.fromhex,
    "c": lambda parts: complex(*map(float.fromhex, parts)),
    "q": lambda parts: fractions.Fraction(*(int(part, 16) for part in parts)),
    "D": decimal.Decimal,
    "R": lambda parts: range(*(int(part, 16) for part in parts)),
    "m": lambda parts: _MOMENTS[parts[0]].fromisoformat(parts[1]),
    "d": lambda parts: datetime.timedelta(*parts),
    "y": lambda name: _TYPES[name],
}


def _taker(iterator):
    """Returns a function that takes the next items of an iterator, and says whether it has ended."""

    def take(count):
        items = list(itertools.islice(iterator, count))
        return items, len(items) < count

    return take


def _runner(awaitable):
    """Returns a function that runs a coroutine to its end."""

    async def wait():
        return await awaitable

    def run():
        import asyncio

        return asyncio.run(wait())

    return run


class Decoder:
    """Builds the values of one message: built-in types, and instances of classes that both know.

    Args:
        reach: Returns the function that a JSON value of `offer` stands for.
        classes: Name -> class.
        contents: As `Encoder.contents`.
        known: Containers that both processes have, in the order of their numbers.
    """

    def __init__(self, reach, classes: dict, contents: list, known=()) -> None:
        self._reach, self._classes = reach, classes
        self._contents, self._first = contents, len(known)
        self.containers = [*known, *(self._start(kind) for kind, _ in contents)]
        for number, (kind, items) in enumerate(contents, self._first):
            if kind not in _IMMUTABLE:
                self.fill(number, kind, items)
        for number in range(self._first, len(self.containers)):
            self._container(number)

    def _start(self, kind: str):
        if kind in _IMMUTABLE:
            return None
        if kind.startswith("object "):
            built = self._classes[kind.removeprefix("object ")]
            return built.__new__(built)
        return _CONTAINERS[kind]()

    def fill(self, number: int, kind: str, items) -> None:
        """Gives a container that can change these contents instead of its own."""
        container = self.containers[number]
        if kind == "bytearray":
            container[:] = bytes.fromhex(items)
            return
        parts = [self.decode(item) for item in items]
        if kind == "list":
            container[:] = parts
        elif kind in ("set", "deque"):
            container.clear()
            (container.update if kind == "set" else container.extend)(parts)
        else:
            own = container if kind == "dict" else vars(container)
            own.clear()
            own.update(zip(parts[::2], parts[1::2], strict=True))

    def _container(self, number: int):
        if self.containers[number] is None:
            kind, items = self._contents[number - self._first]
            self.containers[number] = _IMMUTABLE[kind](self.decode(item) for item in items)
        return self.containers[number]

    def decode(self, value):
        """Returns the value that a JSON value stands for."""
        if not isinstance(value, dict):
            return value
        ((tag, inside),) = value.items()
        if tag == "r":
            return self._container(inside)
        if tag == "V":
            return getattr(self.decode(inside[1]), inside[0])()
        if tag in ("F", "G"):
            return self._reach(value)
        if tag == "n":
            return _iterate(self._reach(inside))
        if tag == "w":
            return _wait(self._reach(inside))
        if tag == "A":
            if not _ARRAY.fullmatch(inside[0]):
                raise TypeError("not an array of numbers or texts")
            import numpy

            return numpy.array(self.decode(inside[2]), dtype=inside[0]).reshape(inside[1])
        return _READINGS[tag](inside)


def _iterate(take):
    """Yields what the other process's iterator yields, more and more at a time."""
    count, ended = 1, False
    while not ended:
        items, ended = take(count)
        yield from items
        count = min(2 * count, _MOST_AT_ONCE)


async def _wait(run):
    return run()


def describe_kind(container) -> str:
    """Returns the kind of a container, as messages name it."""
    built_in = (name for name, kind in _CONTAINERS.items() if isinstance(container, kind))
    return next(built_in, f"object {type(container).__name__}")


def is_fixed(kind: str) -> bool:
    """Returns whether containers of a kind cannot change."""
    return kind in _IMMUTABLE
