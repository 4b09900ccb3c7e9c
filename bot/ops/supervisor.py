"""What the service supervisor hears of the bot, by `sd_notify(3)`: its phase, its status, and that it lives (R3).

`Notifier` sends one datagram for each message, and none where nobody supervises. `SupervisorNotifier` speaks for the
bot from its start to its end: ready once the gateway is; and while a start waits for Discord or a stop for turns, a
request for more time, again and again, so that only one that hangs runs out of it. `Watchdog` sends signs of life for
as long as `bot.ops.health` sees no fault; without them the supervisor kills the bot and starts it again. The mutable
state is the phase, the last status, and why the last sign of life was withheld.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import anyio
import structlog

log = structlog.get_logger(__name__)

EXTENSION = 20.0
"""Seconds asked for at a time: a process that hangs lives for so long, so it is no longer than it must be."""

_MICROSECONDS = 1_000_000

LOOK_INTERVAL = 1.0  # seconds


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
        # A line break in a value would make an assignment of what follows it.
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
        """Report that the service is up."""
        return self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> bool:
        """Report that the settings are read anew; `send` READY=1 ends it."""
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
    # Variables may have been meant for a parent, which started us without removing them: see sd_watchdog_enabled(3).
    wanted = ours and period.isascii() and period.isdigit() and int(period) > 0
    notifier = Notifier(address if address.startswith(("/", "@")) else None)
    return Supervisor(notifier, int(period) / _MICROSECONDS if wanted else None)


class Phase(Enum):
    """Where the bot is between its start and its end."""

    STARTING = "waiting for Discord"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the status is made of."""

    connected: bool
    agents: int
    max_agents: int
    turns: int


def status(phase: Phase, figures: Figures) -> str:
    """Return the line that the supervisor shows."""
    agents = f"{figures.agents} of {figures.max_agents} agents"
    turns = f"{figures.turns} turn{'' if figures.turns == 1 else 's'}"
    if phase is Phase.STARTING:
        return "waiting for Discord"
    if phase is Phase.STOPPING:
        return f"draining: {turns} to end, {agents}"
    return f"{'connected' if figures.connected else 'disconnected'}: {turns} running, {agents}"


class SupervisorNotifier:
    """Tells the supervisor what the bot is doing.

    Args:
        figures: returns what the status is made of.
        fault: returns why the bot is stuck, or None; a start that is stuck is given no more time.
    """

    def __init__(self, notifier: Notifier, figures: Callable[[], Figures], fault: Callable[[], str | None]) -> None:
        self._notifier, self._figures, self._fault = notifier, figures, fault
        self._phase = Phase.STARTING
        self._said = ""
        self._last_extension = 0.0

    @property
    def stops(self) -> bool:
        """Whether the end has begun."""
        return self._phase is Phase.STOPPING

    async def run(self, ready: anyio.Event) -> None:
        """Report every change until cancelled; ``ready`` is set when the bot is."""
        if not self._notifier:
            return
        while True:
            self.look(ready=ready.is_set())
            with anyio.move_on_after(LOOK_INTERVAL):
                # `systemctl start` returns with this, so it is sent at once.
                await (anyio.sleep_forever() if ready.is_set() else ready.wait())

    def look(self, *, ready: bool) -> None:
        """Report what has changed."""
        if self._phase is Phase.STARTING and ready:
            running = status(Phase.RUNNING, self._figures())
            if self._notifier.ready(running):  # else it is tried again at the next look
                self._phase, self._said = Phase.RUNNING, running
        # A start that hangs gets no more time; neither does a stop that takes longer than all that it waits for.
        starts = self._phase is Phase.STARTING and self._fault() is None
        if starts or (self.stops and anyio.current_time() < self._last_extension):
            self._notifier.extend()
        now = status(self._phase, self._figures())
        # Taken as said only once it was sent.
        if now != self._said and self._notifier.send(f"STATUS={now}"):
            self._said = now

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say so while the body reads the settings anew."""
        if self._phase is not Phase.RUNNING:
            yield  # READY=1 ends a reload: it would make a bot ready that is not
            return
        self._notifier.reloading()
        try:
            yield
        finally:
            self._notifier.send("READY=1")

    def stopping(self, within: float) -> None:
        """Report that the end has begun, and ask for time until it should be over, ``within`` seconds from now."""
        self._phase = Phase.STOPPING
        # Not for ever: a stop that hangs has to run out of time.
        self._last_extension = anyio.current_time() + within
        self._notifier.send("STOPPING=1")
        self.look(ready=True)


class Watchdog:
    """Sends signs of life, two in each period, for as long as ``fault`` returns None.

    Args:
        period: seconds, as the supervisor wants it.
    """

    def __init__(self, notifier: Notifier, period: float, fault: Callable[[], str | None]) -> None:
        self._notifier, self._period, self._fault = notifier, period, fault
        self._withheld: str | None = None

    async def run(self) -> None:
        """Send them until cancelled."""
        while True:
            self.once()
            # Twice in each period, as sd_watchdog_enabled(3) advises: one that is late costs nothing.
            await anyio.sleep(self._period / 2)

    def once(self) -> None:
        """Send a sign of life, or withhold it and log why."""
        found = self._fault()
        if found is None:
            self._notifier.send("WATCHDOG=1")
        # One line for each fault, not one for each sign of life that it costs: the supervisor is about to kill the bot.
        if found is not None and self._withheld is None:
            log.error("watchdog.withheld", reason=found, restart_in=self._period)
        elif found is None and self._withheld is not None:
            log.warning("watchdog.resumed", withheld_for=self._withheld)
        self._withheld = found
