"""Where the bot may be asked how it is: on this machine only (pure)."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

UNIX = "unix:"
_LONGEST_PATH = 107  # bytes, of a socket on Linux
_HIGHEST_PORT = 65535


class AddressUnusable(Exception):
    """The address can't be listened on."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """A port on the loopback interface; 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


Address = Loopback | UnixSocket


def parse_address(text: str) -> Address:
    """Return the address that ``127.0.0.1:PORT`` or ``unix:/PATH`` stands for.

    Raises:
        ValueError: it is none, or can be reached from other machines.
    """
    if text.startswith(UNIX):
        return UnixSocket(_socket_path(text.removeprefix(UNIX)))
    host, colon, port = text.rpartition(":")
    # Before `int`, which takes signs, underscores and the digits of other scripts as well.
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{text!r} is neither 127.0.0.1:PORT nor unix:/PATH")
    host = host.removeprefix("[").removesuffix("]")
    if not _is_loopback(host):
        raise ValueError(f"{host!r} is not a loopback address: give 127.0.0.1:PORT or unix:/PATH")
    return Loopback(host, int(port))


def _is_loopback(host: str) -> bool:
    # A name, localhost too, may lead anywhere: what it stands for is decided elsewhere.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _socket_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    if not fits(path):
        raise ValueError(f"{text!r} is too long for a socket ({_LONGEST_PATH} bytes at most)")
    return path


def fits(path: Path) -> bool:
    """Return whether a socket can have this path."""
    # In bytes, which is what the kernel counts.
    return len(os.fsencode(path)) <= _LONGEST_PATH
