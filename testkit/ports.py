"""Ports for the servers that tests start."""

from __future__ import annotations

import random
import socket

from satmachine.errors import SatmachineError

#: Not those that the system lends to outgoing connections (Linux: from 32768 on): a server may take half a minute until
#: it listens.
_FIRST, _LAST = 10_000, 32_000
#: Of its own, so that tests which seed the common one do not ask for the same ports at once.
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on. Raises SatmachineError where none is found."""
    for _ in range(200):
        port = _CHANCE.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SatmachineError(f"no port from {_FIRST} to {_LAST} is free")
