"""Of the bots on one database one leads and the others stand by: waiting for the lease, and ending without it (R10).

`pool.storage.lease` says who leads. Here is what a bot does about it: it tells for whom it waits, and when it has lost
the lease, it leaves, even if its event loop does not turn any more. The mutable state is what was told last.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import structlog

from acp.shutdown import StopLimits, end_strays
from bot.config import EX_LEASE_LOST, ConfigError
from bot.ops.health import StandbyHealth
from bot.ops.supervisor import Supervisor, Watchdog
from bot.ops.watch import Watch
from pool.storage.lease import Lease, LeaseLimits, LeaseRefused, LeaseWait

if TYPE_CHECKING:
    from bot.redaction import Redactor

log = structlog.get_logger(__name__)

LIMITS_VARIABLE = "WEFT_LEASE_LIMITS"
"""Shortens the lease for tests: duration, margin, renew, look, call and retry, in seconds. No setting."""

END_LIMIT = 20.0
"""Seconds that a bot without the lease has for ending its agents and itself in order."""

_STRAYS_LIMIT = 10.0
_LOOK = 0.5


def status_line(waiting: LeaseWait) -> str:
    """Return the line that the supervisor shows."""
    if waiting.trouble:
        return f"Standby: {waiting.trouble}"
    return f"Standby: {waiting.leader} leads" if waiting.leader else "Standby: nobody leads yet"


class Standby:
    """Reports to the supervisor, and to health checks, for whom the bot waits.

    Attributes:
        waits: whether it does.
    """

    def __init__(self, supervisor: Supervisor, watch: Watch, redactor: Redactor) -> None:
        self._supervisor, self._watch, self._redactor = supervisor, watch, redactor
        self._ready = False
        self._alive = anyio.CancelScope()
        self.waits = False

    def wait(self, waiting: LeaseWait) -> None:
        self.waits = True
        self._watch.stand_by(StandbyHealth(leader=waiting.leader, trouble=waiting.trouble))
        text, notifier = self._redactor.text(status_line(waiting)), self._supervisor.notifier
        # Ready: what a standby is there for, it does already. Otherwise its start would run out of time.
        if self._ready:
            notifier.send(f"STATUS={text}")
        else:
            self._ready = notifier.ready(text)

    def lead(self) -> None:
        """Say that the wait is over."""
        self.waits = False
        self._watch.stand_by(None)

    async def show_life(self) -> None:
        """Send signs of life where they are wanted, until `begun`."""
        if self._supervisor.watchdog is not None:
            with self._alive:
                await Watchdog(self._supervisor.notifier, self._supervisor.watchdog, lambda: None).run()

    def begun(self) -> None:
        """Leave the signs of life to the bot itself, which knows better whether it is well."""
        self._alive.cancel()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say so while the body reads the settings anew."""
        if self._ready:
            self._supervisor.notifier.reloading()
        try:
            yield
        finally:
            if self._ready:
                self._supervisor.notifier.send("READY=1")


@asynccontextmanager
async def led(url: str | None, standby: Standby, marker: Mapping[str, str]) -> AsyncIterator[Lease | None]:
    """Wait until this bot leads on the database, if there is one, and lead while the body runs.

    Args:
        marker: of the agents on this machine, which end with the lease.

    Raises:
        ConfigError: the database can't be used until a person does something; in a group.
    """
    if url is None:
        yield None
        return
    from pool.storage.postgres_lease import hold_lease  # takes the driver, which is an extra

    async with anyio.create_task_group() as tasks:
        # The wait may last for days, and nothing else sends signs of life meanwhile.
        tasks.start_soon(standby.show_life, name="signs of life")
        try:
            async with hold_lease(url, socket.gethostname(), lease_limits(os.environ), standby.wait) as lease:
                standby.lead()
                with forced_end(lease, marker):
                    yield lease
        except LeaseRefused as exc:
            raise ConfigError(f"WEFT_DATABASE_URL: {exc}") from exc
        tasks.cancel_scope.cancel()


def lease_limits(environ: Mapping[str, str]) -> LeaseLimits:
    """Return the limits of the lease; those of production unless a test has others."""
    given = environ.get(LIMITS_VARIABLE)
    return LeaseLimits(*map(float, given.split(","))) if given else LeaseLimits()


@contextmanager
def forced_end(
    lease: Lease,
    marker: Mapping[str, str],
    within: float = END_LIMIT,
    leave: Callable[[int], object] = os._exit,
) -> Iterator[None]:
    """End the process, and its agents, if it is still there so many seconds after it has lost the lease.

    In a thread: a loop that is busy, or a disk that hangs, must not keep a bot alive that may have a successor.
    """
    over = threading.Event()
    # No log line: whatever holds up the rest may hold the log as well.
    guard = threading.Thread(target=_guard, args=(lease, marker, within, leave, over), daemon=True, name="lease guard")
    guard.start()
    try:
        yield
    finally:
        # After a loss it stays until the process is gone.
        if lease.held():
            over.set()


def _guard(
    lease: Lease, marker: Mapping[str, str], within: float, leave: Callable[[int], object], over: threading.Event
) -> None:
    # 1. Until the lease is lost, by the clock: the loop may not get to say so.
    while lease.left > 0 and not lease.why:
        if over.wait(_LOOK):
            return
    # 2. The orderly end.
    # By a clock in this thread: the loop may be what hangs.
    if over.wait(within):
        return
    # 3. The other one.
    # In a new loop, for the same reason; before the exit, since closed pipes do not end every agent.
    anyio.run(_end_agents, marker)
    leave(EX_LEASE_LOST)


async def _end_agents(marker: Mapping[str, str]) -> None:
    with anyio.move_on_after(_STRAYS_LIMIT):
        for name, value in marker.items():
            await end_strays(name, value, StopLimits())
