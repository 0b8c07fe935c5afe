"""The channel between the two processes of the sandbox; standard library only.

A message is its length in 8 bytes, then JSON. Either process calls functions of the other by
number, and waits for the reply: a result and the containers that changed, or an exception.
"""

import json
import os
import struct
import sys

from lorapar_cli.grading.sandbox.wire import Decoder, Encoder, describe_kind, is_fixed

LONGEST_MESSAGE = 64 * 2**20
OWN_MODULES = ("program", "tests")
"""Names under which the program and the tests run; both define the classes of the setup."""


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
    if length > LONGEST_MESSAGE:
        raise Ended("a message is too long")
    return json.loads(_read(channel, length))


def _read(channel: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(channel, min(length, 2**20))
        if not part:
            raise Ended("the other process has ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def describe_error(error: BaseException) -> dict:
    """Returns the names of an exception's classes, nearest first, its text and plain arguments."""
    classes = [kind for kind in type(error).__mro__ if issubclass(kind, BaseException)]
    try:
        text = str(error)[:1000]
    except BaseException:
        text = "an error that cannot be shown"
    names = [[kind.__module__, kind.__qualname__] for kind in classes]
    try:
        plain = _encode_plain([list(error.args), vars(error)])
    except BaseException:
        plain = _encode_plain([[text], {}])
    return {"classes": names, "text": text, "plain": plain}


def _encode_plain(value) -> list:
    encoder = Encoder(_refuse, {})
    encoded = encoder.encode(value)
    plain = [encoded, encoder.contents]
    json.dumps(plain)
    return plain


def _refuse(function):
    raise TypeError("functions stay where they are")


def rebuild_error(described: dict, classes: dict) -> BaseException:
    """Returns an exception of the type that `describe_error` described, or the nearest known one.

    Args:
        classes: Name -> class, for those that are neither built in nor of an imported module.
    """
    names = described["classes"]
    known = (
        (place, _exception_class(module, name, classes))
        for place, (module, name) in enumerate(names)
    )
    place, kind = next((found for found in known if found[1] is not None), (0, Exception))
    encoded, contents = described["plain"]
    values, attributes = Decoder(_refuse, {}, contents).decode(encoded)
    if place:
        kind = type(str(names[0][1]), (kind,), {})
    try:
        error = kind(*values)
    except Exception:
        error = kind.__new__(kind, *values)
    error.args = tuple(values)
    vars(error).update(attributes)
    return error


def _exception_class(module: str, name: str, classes: dict):
    found = classes.get(name) if module in OWN_MODULES else None
    if module not in OWN_MODULES:
        found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


class Peer:
    """One end of the channel: calls the other process's functions, and answers its calls.

    Args:
        classes: Returns name -> class of the classes that both processes know.

    Attributes:
        raised: Exceptions that the other process's functions have raised here.
    """

    def __init__(self, channel: int, classes) -> None:
        self._channel, self._classes = channel, classes
        self._offered: list = []
        self._reached: dict = {}
        self.raised: list[BaseException] = []

    def offer(self, function) -> dict:
        """Returns the JSON value that stands for a function: one of here, or one of there."""
        for number, reached in self._reached.items():
            if reached is function:
                return {"G": number}
        self._offered.append(function)
        return {"F": len(self._offered) - 1}

    def reach(self, described: dict):
        """Returns the function that a JSON value of the other process's `offer` stands for."""
        ((side, number),) = described.items()
        if side == "G":
            return self._offered[number]
        if number not in self._reached:

            def call(*args, **kwargs):
                return self._call(number, args, kwargs)

            self._reached[number] = call
        return self._reached[number]

    def _call(self, number: int, args: tuple, kwargs: dict):
        encoder = Encoder(self.offer, self._classes())
        encoded = [encoder.encode(list(args)), encoder.encode(kwargs)]
        send(self._channel, {"call": number, "with": encoded, "contents": encoder.contents})
        while "call" in (reply := receive(self._channel)):
            self.answer(reply)
        if "error" in reply:
            error = rebuild_error(reply["error"], self._classes())
            self.raised.append(error)
            raise error
        if not {"result", "contents", "changed"} <= reply.keys():
            raise Ended("a message is not a reply")
        known = encoder.containers
        decoder = Decoder(self.reach, self._classes(), reply["contents"], known)
        for place, kind, items in reply["changed"]:
            if kind != describe_kind(known[place]) or is_fixed(kind):
                raise Ended("a container cannot change its type")
            decoder.fill(place, kind, items)
        return decoder.decode(reply["result"])

    def answer(self, call: dict) -> None:
        """Calls one of the functions that this process offers, and sends what it returns."""
        try:
            reply = self._answer(call)
            json.dumps(reply)
        except BaseException as error:
            reply = {"error": describe_error(error)}
        send(self._channel, reply)

    def _answer(self, call: dict) -> dict:
        contents = call["contents"]
        decoder = Decoder(self.reach, self._classes(), contents)
        args, kwargs = (decoder.decode(part) for part in call["with"])
        known = list(decoder.containers)
        # What the arguments are before the function can change them, in the words of the reply.
        before = self._describe(known)[0]
        result = self._offered[call["call"]](*args, **kwargs)
        after, encoder = self._describe(known)
        encoded = encoder.encode(result)
        changed = [
            [place, *now]
            for place, (was, now) in enumerate(zip(before, after, strict=True))
            if was != now and not is_fixed(now[0])
        ]
        return {"result": encoded, "contents": encoder.contents, "changed": changed}

    def _describe(self, known: list):
        """Returns the contents of containers that both processes have, and their encoder."""
        encoder = Encoder(self.offer, self._classes(), known)
        return [encoder.describe(container) for container in known], encoder
