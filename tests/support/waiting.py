"""Waiting for what comes, instead of for a time. Standard library only."""

import contextlib
import socket
import time

PATIENCE = 120


def eventually(condition, what, patience=PATIENCE):
    """What the condition returns, once that is true."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
    return found


def reachable(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False
