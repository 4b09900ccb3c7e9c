"""Signs of life between two kernels, for a connection on which nobody may write for long. There is no state."""

from __future__ import annotations

import socket


def keep_alive(connection: socket.socket, *, idle: int, every: int, misses: int) -> None:
    """Have the kernel notice that the other machine is gone: after ``idle`` + ``every`` * ``misses`` seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", every), ("TCP_KEEPCNT", misses)):
        # Not every system has all of them.
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
