"""Speaks to the service supervisor: one datagram for each message, as `sd_notify(3)` has it (R3).

Without a supervisor nothing is sent. What is said, and when, is decided elsewhere. There is no mutable state.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

EXTENSION = 20.0
"""Seconds that are asked for at a time; the supervisor ends a process that hangs for as long."""

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends to the socket at ``address``, or nowhere; a leading @ stands for an abstract name."""

    address: str | None = None

    def __bool__(self) -> bool:
        return self.address is not None

    def send(self, *assignments: str) -> bool:
        """Send ``NAME=value`` lines as one message; False if it could not be sent. Never waits, never raises."""
        if self.address is None:
            return False
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        message = "\n".join(line.replace("\n", " ") for line in assignments)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # a supervisor that hangs must not hang the loop
                sender.connect(name)
                sender.sendall(message.encode())
        except OSError as exc:
            log.warning("supervisor.not_told", message=message, error=str(exc))
            return False
        return True

    def ready(self, status: str) -> bool:
        """Tell that the service is up."""
        return self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> bool:
        """Tell that the settings are read anew; `send` READY=1 ends it."""
        return self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def extend(self) -> bool:
        """Ask that the start or the stop may go on for `EXTENSION` from now; it is not added to what is left."""
        return self.send(f"EXTEND_TIMEOUT_USEC={int(EXTENSION * _MICROSECONDS)}")


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What the environment says about who watches over the process.

    Attributes:
        watchdog: seconds within which a sign of life is wanted, again and again; None if none is.
    """

    notifier: Notifier = Notifier()
    watchdog: float | None = None


def take_supervisor(environ: MutableMapping[str, str], pid: int | None = None) -> Supervisor:
    """Return who watches over the process ``pid`` (this one); the variables are removed, so that no child has them."""
    address = environ.pop("NOTIFY_SOCKET", "")
    period, addressee = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    ours = addressee in ("", str(os.getpid() if pid is None else pid))
    wanted = ours and period.isascii() and period.isdigit() and int(period) > 0
    notifier = Notifier(address if address.startswith(("/", "@")) else None)
    return Supervisor(notifier, int(period) / _MICROSECONDS if wanted else None)
