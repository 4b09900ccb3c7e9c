"""Whose the other end of a connection within this machine is, as Linux tells everybody."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

# A socket for IPv6 reaches an address of IPv4 as well.
_TABLES = {Path("/proc/net/tcp"): b"", Path("/proc/net/tcp6"): b"\0" * 10 + b"\xff\xff"}
_WORD = 4
_LOCAL, _REMOTE, _USER = 1, 2, 7


def user_of_peer(request: web.Request) -> int | None:
    """The user id of the socket that a request came from; None where the system does not tell."""
    if request.transport is None:
        return None
    # Seen from the peer, whose row in the table it is: its own address is local there.
    ends = request.transport.get_extra_info("peername"), request.transport.get_extra_info("sockname")
    for table, prefix in _TABLES.items():
        local, remote = (_address(prefix, host, port) for host, port in ends)
        for fields in _rows(table):
            if (fields[_LOCAL], fields[_REMOTE]) == (local, remote):
                return int(fields[_USER])
    return None


def _rows(table: Path) -> Iterator[list[str]]:
    try:
        lines = table.read_text().splitlines()
    except OSError:  # another system, or no IPv6
        return
    yield from (line.split() for line in lines[1:])


def _address(prefix: bytes, host: str, port: int) -> str:
    """An address as the tables have it: words in the order of the machine's bytes."""
    packed = prefix + socket.inet_aton(host)
    words = (packed[at : at + _WORD] for at in range(0, len(packed), _WORD))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
