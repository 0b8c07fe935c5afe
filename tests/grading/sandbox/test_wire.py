"""Values on their way between the two processes: what leaves arrives, and nothing else does."""

import datetime
import decimal
import fractions
import json
import os
from collections import Counter, deque

import pytest

from lorapar_cli.grading.sandbox.peer import Peer, describe_error, rebuild_error
from lorapar_cli.grading.sandbox.wire import Decoder, Encoder


def refuse(value):
    raise AssertionError(f"no functions here: {value}")


def sent(value):
    """Returns what the other process receives for a value."""
    encoder = Encoder(refuse, {})
    encoded = encoder.encode(value)
    message = json.loads(json.dumps([encoded, encoder.contents]))
    return Decoder(refuse, {}, message[1]).decode(message[0])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 10**4000, 2**53, -(2**53), 1.5, float("inf"), -0.0, "text", "\ud800", "",
        b"\x00\xff", bytearray(b"ab"), [1, [2]], (1, (2,)), {1, 2}, frozenset({1}), {"a": 1, 2: (3,)},
        {(1, 2): [3]}, 1 + 2j, range(2, 9, 3), deque([1, 2]), fractions.Fraction(1, 3),
        decimal.Decimal("0.10"), datetime.date(2024, 2, 29), datetime.timedelta(days=1, seconds=2),
        datetime.datetime(2024, 2, 29, 13, 5), int, {frozenset({(1,)}): {"x": {2}}},
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_arrive_as_they_left(value):
    arrived = sent(value)
    assert arrived == value
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


def test_subclasses_arrive_as_plain_values():
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    arrived = sent([Sly(3), Counter("aa")])
    assert [type(each) for each in arrived] == [int, dict]
    assert arrived[0] != 4
    with pytest.raises(TypeError, match="not a plain value"):
        sent(object())


def test_shared_and_cyclic_containers_stay_so():
    inner = [1]
    first, second = sent([inner, inner])
    assert first is second
    loop = []
    loop.append(loop)
    arrived = sent(loop)
    assert arrived[0] is arrived
    deep = []
    for _ in range(100_000):
        deep = [deep]
    arrived, depth = sent(deep), 0
    while arrived:
        arrived, depth = arrived[0], depth + 1
    assert depth == 100_000


def test_views_of_a_dict_are_views():
    keys, values, items = sent([*({"a": 1}.keys(), {"a": 1}.values(), {"a": 1}.items())])
    assert keys == {"a"}
    assert list(values) == [1]
    assert items == {("a", 1)}


class Odd(ValueError):
    pass


@pytest.mark.parametrize(
    "error", [ValueError("a", 1), KeyError("k"), ZeroDivisionError(), OSError(2, "gone"), Odd("x")]
)
def test_exceptions_keep_type_text_and_arguments(error):
    arrived = rebuild_error(json.loads(json.dumps(describe_error(error))), {})
    assert isinstance(arrived, ValueError if isinstance(error, Odd) else type(error))
    assert type(arrived).__name__ == type(error).__name__
    assert (str(arrived), arrived.args) == (str(error), error.args)


def test_an_exception_that_cannot_be_shown_arrives_all_the_same():
    class Silent(LookupError):
        def __str__(self):
            raise RuntimeError

    arrived = rebuild_error(json.loads(json.dumps(describe_error(Silent(object())))), {})
    assert isinstance(arrived, LookupError)


class Line:
    """Two ends in one process: a message written to one is answered at once by the other."""

    def __init__(self, function):
        (self._in, out), (back, self._out) = os.pipe(), os.pipe()
        self.far = Peer(self._out, dict)
        self.far.offer(function)
        self.near = Peer(out, dict)
        self._back = back

    def call(self, monkeypatch, *args):
        from lorapar_cli.grading.sandbox import peer

        inbox = []
        monkeypatch.setattr(peer, "send", lambda channel, message: inbox.append(message))

        def receive(channel):
            message = json.loads(json.dumps(inbox.pop()))
            if "call" in message and not inbox:
                self.far.answer(message)
                return json.loads(json.dumps(inbox.pop()))
            return message

        monkeypatch.setattr(peer, "receive", receive)
        return self.near.reach({"F": 0})(*args)


def test_arguments_that_the_callee_changes_change_here(monkeypatch):
    def change(values, table, seen, kept):
        values.sort()
        values[0].append(9)
        table["k"] = values
        seen.clear()
        return values

    inner, kept = [1], [5, (6,)]
    values, table, seen = [[3], inner], {}, {1}
    returned = Line(change).call(monkeypatch, values, table, seen, kept)
    assert values == [[1, 9], [3]]
    assert values[0] is inner
    assert table == {"k": values}
    assert table["k"] is values
    assert returned is values
    assert seen == set()
    assert kept == [5, (6,)]
