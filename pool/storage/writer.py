"""The one writer behind the store: an inbox, batches in the order in which they were handed in, and the end of both.

What an operation does stands in `pool.storage.operations`, where it is written in a `pool.storage.ledger.Ledger`. The
mutable state is the inbox, the flags of the end, and until when a storage that is away is waited for.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread
import structlog

from pool.storage.ledger import Ledger
from pool.storage.model import Answer, LeaseLost, Operation, StorageFault, StorageLimits
from pool.store import StoreBusy, StoreClosed

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Submitted(Generic[T]):
    """An operation that was handed in; it is carried out even if nobody waits for it."""

    operation: Operation[T]
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer = field(default_factory=Answer)

    async def value(self) -> T:
        """Return the operation's value once its batch is committed, or raise what it failed with."""
        await self.done.wait()
        if self.answer.error is not None:
            raise self.answer.error
        return cast("T", self.answer.value)


class _GivenUpError(Exception):
    """The storage is away, and is waited for no longer."""


class Writer:
    """Carries out what is handed in, one batch at a time, in one worker thread.

    Attributes:
        observe: called with the seconds that each call took; None: nobody counts.
        lost: set when the ledger is found to be somebody else's; the writer has ended then.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: StorageLimits,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._limits, self._now, self._clock = ledger, limits, now, clock
        self.observe: Callable[[float], None] | None = None
        self.lost = anyio.Event()
        self._inbox: deque[Submitted[Any]] = deque()
        self._wake = anyio.Event()
        self._closing = False
        self._abandoned = False
        self._in_hand = 0
        self._patience = math.inf  # until when a storage that is away is waited for, by the clock
        self._hurry = anyio.Event()
        self._ended = anyio.Event()
        # Shielded: tasks that are being cancelled still hand in the results of their work.
        self._scope = anyio.CancelScope(shield=True)
        # A limiter that nobody else uses up; and the ledger wants one call at a time.
        self._thread = anyio.CapacityLimiter(1)

    @property
    def trouble(self) -> str:
        """What is wrong with the storage, in a few words for people; empty when all is well."""
        return self._ledger.trouble

    @property
    def behind(self) -> int:
        """How many calls and changes are not in the storage yet."""
        return len(self._inbox) + self._in_hand + self._ledger.backlog

    async def submit(self, operation: Operation[T], *, refusable: bool = False) -> T:
        """Return the operation's value once its batch is committed.

        Raises:
            StoreBusy: it is refusable, and the inbox is full.
            StoreClosed: the store was left, or lost; whether this was written is not known.
        """
        if refusable and len(self._inbox) >= self._limits.inbox:
            raise StoreBusy(f"{len(self._inbox)} writes wait already")
        began = self._clock()
        waiting = self.hand_in(operation)
        # A caller that gives up leaves its operation in the inbox: what comes later may count on it.
        await waiting.done.wait()
        if self.observe is not None:
            self.observe(self._clock() - began)
        return await waiting.value()

    def hand_in(self, operation: Operation[T]) -> Submitted[T]:
        """Have an operation carried out, without waiting for it.

        Raises:
            StoreClosed: the store was left, or lost.
        """
        if self._ended.is_set():
            raise StoreClosed
        waiting = Submitted(operation)
        self._inbox.append(waiting)
        self._wake.set()
        return waiting

    async def run(self) -> None:
        """Write until closed and out of work; shielded, since those who leave still hand things in."""
        try:
            with self._scope:
                try:
                    await self._work()
                except LeaseLost as exc:
                    self._tell("store.lost", exc)
                    self.lost.set()
                except _GivenUpError as exc:
                    self._tell("store.given_up", exc)
                await self._in_thread(self._ledger.close)
        finally:
            self._ended.set()
            # However the writer ended, nobody is left waiting for an answer.
            while self._inbox:
                waiting = self._inbox.popleft()
                waiting.answer = Answer(error=StoreClosed())
                waiting.done.set()

    def _tell(self, event: str, reason: Exception) -> None:
        log.error(event, reason=str(reason), waiting=len(self._inbox))

    async def _work(self) -> None:
        # Closing ends it only once the inbox is empty: what was handed in before is written.
        while self._inbox or not self._closing:
            if self._inbox:
                await self._write()
            elif self._clock() >= self._ledger.due:
                await self._in_thread(self._ledger.tend)
            else:
                # No await between the look at the inbox and the new event, or a wake-up is lost.
                self._wake = anyio.Event()
                with anyio.move_on_after(self._ledger.due - self._clock()):
                    await self._wake.wait()

    def leave(self, within: float) -> None:
        """Wait no longer than so many seconds for a storage that is away; calls that still wait then get an error."""
        self._patience = min(self._patience, self._clock() + within)
        self._hurry.set()

    async def close(self) -> None:
        """Return when all that was handed in is written and the ledger is closed, or when that takes too long."""
        self._closing = True
        self._wake.set()
        # The writer gives up first, and then has the time to close the connection.
        self.leave(self._limits.close * 0.8)
        with anyio.move_on_after(self._limits.close, shield=True):
            await self._ended.wait()
            return
        log.error("store.close_timed_out", waiting=len(self._inbox))
        # Before the cancel: the thread that is left to itself sees by this that it has to close the ledger.
        self._abandoned = True
        self._scope.cancel()

    async def _write(self) -> None:
        batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), self._limits.batch))]
        # Counted while they are neither in the inbox nor in the storage, or `behind` would say that all is written.
        self._in_hand = len(batch)
        try:
            # One transaction for all: what costs is the sync at its end.
            answers = await self._carried_out([waiting.operation for waiting in batch])
        except BaseException:
            # Nobody knows whether it was written, so the callers get the error of a closed store and not an answer.
            self._inbox.extendleft(reversed(batch))
            raise
        finally:
            self._in_hand = 0
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer = answer
            waiting.done.set()

    async def _carried_out(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Return the answers once the operations are committed, however long the storage is away until then."""
        for pause in self._limits.pauses():
            try:
                # The very same sequence each time: by that the ledger knows that it may have been committed already.
                return await self._in_thread(lambda: self._ledger.work(operations))
            except StorageFault as fault:
                left = self._patience - self._clock()
                if left <= 0:
                    raise _GivenUpError(str(fault)) from fault
                # No await since the look at the patience, or a call of `leave` in between would wake nobody.
                self._hurry = anyio.Event()
                with anyio.move_on_after(min(pause, left)):
                    await self._hurry.wait()
        raise AssertionError("there is always another pause")

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def carry_out() -> T:
            try:
                return call()
            finally:
                if self._abandoned:  # nobody waits for this thread now, so it has to close the ledger itself
                    self._ledger.close()

        # Only the end of `close` cancels in here: a disk that hangs must not keep the process.
        return await anyio.to_thread.run_sync(carry_out, abandon_on_cancel=True, limiter=self._thread)
