"""Ports for the processes that tests start."""

import socket


def free_port() -> str:
    """Returns a port of the loopback interface that nobody listens to at present."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])
