"""The lease on a shared state: of the bots on one database one leads, and the others stand by (R10).

How it is kept in a database stands in `postgres_lease`; here is the protocol. It trusts no clock to tell the time, only
to run at its usual speed:

- Whoever leads counts from *before* it asks for a renewal, and stops acting `LeaseLimits.margin` before the others may
  begin: `Lease.held` is False then, for good, whatever the network or the process did meanwhile.
- Whoever waits takes over once it has seen the same epoch and the same count of renewals for all of
  `LeaseLimits.duration`, by its own clock, and only if they are still the same when it writes the next epoch. What was
  given back is taken at once.

The mutable state is the lease, and the session with the database, which is opened anew after any trouble.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

Clock = Callable[[], float]

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Return seconds by a clock that is never set, and that runs on while the machine sleeps."""
    return time.clock_gettime(_BOOT)


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """Times in seconds.

    Attributes:
        duration: for how long nobody takes over after a renewal.
        margin: how much earlier the one that leads stops: what it has sent by then must have arrived.
        renew: between two renewals.
        look: between two looks of one that waits.
        call: what one call of the database may take, its connection included.
        retry: before the next try after trouble.
    """

    duration: float = 15.0
    margin: float = 5.0
    renew: float = 3.0
    look: float = 0.5
    call: float = 3.0
    retry: float = 0.5

    @property
    def usable(self) -> float:
        """For how long one that leads may act after the beginning of a renewal."""
        return self.duration - self.margin


class LeaseTrouble(Exception):
    """The database can't be asked at the moment; the message says why, in a few words for people."""


class LeaseRefused(LeaseTrouble):
    """The database can't be used, and trying again can't help: a person has to do something."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """What the database knows: who leads, in which epoch, and how often that was renewed."""

    epoch: int
    renewals: int
    released: bool
    holder: str


class LeaseSession(Protocol):
    """A session with the database; a call that is cancelled leaves it unusable. Each call may raise `LeaseTrouble`."""

    async def look(self) -> Leadership | None:
        """Return what the database knows; None: nobody has led yet."""

    async def take(self, seen: Leadership | None, holder: str) -> int | None:
        """Begin the next epoch and return it; None: what was ``seen`` is no longer so."""

    async def renew(self, epoch: int) -> bool:
        """Renew the lease, in a new session too; False: another epoch has begun."""

    async def release(self, epoch: int) -> None:
        """Let anybody take over at once, if the epoch is still the current one."""

    def drop(self) -> None:
        """Break off; never waits."""


@dataclass(frozen=True, slots=True)
class LeaseWait:
    """Why a bot waits: ``leader`` leads, or may still be acting; ``trouble`` keeps it from asking the database."""

    leader: str = ""
    trouble: str = ""


class Lease:
    """The right to act for the shared state; made by `hold`.

    Attributes:
        epoch: grows with each taking, by whomever.
        lost: set when it is lost, at the latest by the first `held` that is False for that.
        why: the reason for that, for people.
    """

    def __init__(self, epoch: int, began: float, usable: float, clock: Clock) -> None:
        self.epoch = epoch
        self.lost, self.why = anyio.Event(), ""
        self._usable, self._clock = usable, clock
        self._deadline = began + usable
        self._over = False

    @property
    def left(self) -> float:
        """Seconds until it is lost, if nothing renews it."""
        return self._deadline - self._clock()

    def held(self) -> bool:
        """Whether one may act; once this is False, it stays so."""
        # Decided here, by the caller's look, since the task that renews may hang.
        if self.left <= 0 and not self._over:
            self.lose(f"it was not renewed for {self._usable:g} s")
        return not self._over and not self.lost.is_set()

    def renewed(self, began: float) -> None:
        """Take note of a renewal that was asked for at ``began``."""
        # Never back: an answer may be older than the last one.
        self._deadline = max(self._deadline, began + self._usable)

    def end(self) -> None:
        """Act no more, since all is done."""
        self._over = True

    def lose(self, why: str) -> None:
        """Act no more, since somebody else may."""
        if not self._over and not self.lost.is_set():
            self.why = why
            self.lost.set()


class _CurrentSession:
    """The session that is asked, opened when it is needed; a new one after any trouble."""

    def __init__(self, open_session: Callable[[], Awaitable[LeaseSession]]) -> None:
        self._open = open_session
        self._session: LeaseSession | None = None

    async def ask(self, question: Callable[[LeaseSession], Awaitable[T]], within: float) -> T:
        """Return the answer.

        Raises:
            LeaseTrouble: there is none within so many seconds, or the database could not be reached.
        """
        done = False
        try:
            with anyio.fail_after(within):
                if self._session is None:
                    self._session = await self._open()
                answer = await question(self._session)
            done = True
        except TimeoutError as exc:
            raise LeaseTrouble("the database does not answer") from exc
        finally:
            # What is under way in a session nobody knows, once a call of it was cut off.
            if not done:
                self.drop()
        return answer

    def drop(self) -> None:
        if self._session is not None:
            self._session.drop()
            self._session = None


@asynccontextmanager
async def hold(
    open_session: Callable[[], Awaitable[LeaseSession]],
    holder: str,
    limits: LeaseLimits,
    on_wait: Callable[[LeaseWait], None],
    clock: Clock = boot_clock,
) -> AsyncIterator[Lease]:
    """Wait for the lease, and renew it while the body runs; then give it back.

    The body is not cut off when the lease is lost: it looks at `Lease.held` before it acts, and waits for `Lease.lost`.

    Args:
        on_wait: called when what is waited for changes.

    Raises:
        LeaseRefused: at the start. A database in which somebody has led already is waited for, once it was asked.
    """
    current = _CurrentSession(open_session)
    try:
        lease = await _acquire(current, holder, limits, on_wait, clock)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_renew_until_lost, current, lease, limits, clock, name="lease")
                try:
                    yield lease
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            # The renewals have ended by now: what is released must not be renewed.
            # One that was lost is not given back: what was sent in its last moment has the margin to arrive.
            if lease.held():
                lease.end()
                with anyio.CancelScope(shield=True):
                    await _release(current, lease, limits)
    finally:
        current.drop()


async def _acquire(
    current: _CurrentSession, holder: str, limits: LeaseLimits, on_wait: Callable[[LeaseWait], None], clock: Clock
) -> Lease:
    """Wait until nobody leads; return the lease."""
    told: LeaseWait | None = None
    seen: Leadership | None = None
    since, answered = clock(), False
    while True:
        try:
            found = await current.ask(lambda session: session.look(), limits.call)
            answered = answered or found is not None
            # After the answer: what it shows was renewed before this moment.
            if found != seen:
                seen, since = found, clock()
            if seen is None or seen.released or clock() - since >= limits.duration:
                # Before the question: how long the answer is on its way counts against us.
                began = clock()
                epoch = await current.ask(functools.partial(_take, seen, holder), limits.call)
                if epoch is not None:
                    log.info("lease.taken", epoch=epoch, holder=holder, before=seen.holder if seen else None)
                    return Lease(epoch, began, limits.usable, clock)
            waiting = LeaseWait(seen.holder if seen else "")
        except LeaseTrouble as exc:
            # At the start alone: a database that has answered was in order, and a person may be putting it right.
            if isinstance(exc, LeaseRefused) and not answered:
                raise
            waiting = LeaseWait(seen.holder if seen else "", str(exc))
        if waiting != told:
            told = waiting
            (log.warning if waiting.trouble else log.info)(
                "lease.awaited", leader=waiting.leader, trouble=waiting.trouble
            )
            on_wait(waiting)
        await anyio.sleep(limits.look)


async def _take(seen: Leadership | None, holder: str, session: LeaseSession) -> int | None:
    return await session.take(seen, holder)


async def _renew_until_lost(current: _CurrentSession, lease: Lease, limits: LeaseLimits, clock: Clock) -> None:
    """Renew the lease until it is lost."""
    pause, trouble = limits.renew, ""
    while True:
        # Never past its end, so that its loss is noticed when it happens.
        await anyio.sleep(max(0.0, min(pause, lease.left)))
        began = clock()
        # In this order: of a process that stood still, a renewal now would come too late, even if it succeeded.
        if not lease.held():
            break
        try:
            ours = await current.ask(lambda session: session.renew(lease.epoch), min(limits.call, lease.left))
        except LeaseTrouble as exc:
            if not trouble:
                log.warning("lease.not_renewed", reason=str(exc), left=round(lease.left, 1))
            pause, trouble = limits.retry, str(exc)
            continue
        if not ours:
            lease.lose("another bot took over")
            break
        # Looked at again: an answer that came after the end does not bring the lease back.
        if not lease.held():
            break
        lease.renewed(began)
        if trouble:
            log.info("lease.renewed", after=trouble)
        pause, trouble = limits.renew, ""
    log.error("lease.lost", reason=lease.why, trouble=trouble)


async def _release(current: _CurrentSession, lease: Lease, limits: LeaseLimits) -> None:
    try:
        await current.ask(lambda session: session.release(lease.epoch), limits.call)
    except LeaseTrouble as exc:
        # The others see that nothing is renewed any more.
        log.warning("lease.not_released", reason=str(exc))
    else:
        log.info("lease.released", epoch=lease.epoch)
