"""A port for a server that takes its number from a file or an argument, and binds it only later."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens, and which the kernel gives to nobody.

    One that the kernel has chosen is free again at once: by the time that a server has started, on a busy machine
    seconds later, somebody else's connection may have it.
    """
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    # Where the kernel chooses among almost all of them, there is nothing better than what it chooses.
    below = random.SystemRandom().sample(range(_LOWEST, first), 20) if first > _LOWEST + 1000 else []
    for port in [*below, 0]:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    raise AssertionError("no port is free")
