"""One writer for all: what waits is carried out in batches, in the order in which it was handed in.

The mutable state is the inbox, the wake-up event and the flags of closing. A caller that gives up leaves its
operation in the inbox.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
import structlog

from pool.storage.ledger import Ledger
from pool.storage.model import Answer, StorageLimits
from pool.storage.operations import Operation
from pool.store import StoreBusy

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting:
    operation: Operation[Any]
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer = field(default_factory=Answer)

    def settle(self, answer: Answer) -> None:
        self.answer = answer
        self.done.set()


def ignore(_seconds: float) -> None:
    """Take no notice of how long something took."""


class Writer:
    """Takes operations from any task; `run` is its own, `close` ends it.

    Attributes:
        observe: told how many seconds each operation took, from the call to its answer.
    """

    def __init__(self, ledger: Ledger, limits: StorageLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._limits, self._clock = ledger, limits, clock
        self.observe: Callable[[float], None] = ignore
        self._inbox: deque[_Waiting] = deque()
        self._wake = anyio.Event()
        self._closing = False
        self._abandoned = False
        self._ended = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)
        self._thread = anyio.CapacityLimiter(1)

    async def submit(self, operation: Operation[T], *, refusable: bool = False) -> T:
        """Return the operation's value once its batch is committed.

        Raises:
            StoreBusy: it is refusable, and the inbox is full.
            anyio.ClosedResourceError: the store was left.
        """
        if self._ended.is_set():
            raise anyio.ClosedResourceError
        if refusable and len(self._inbox) >= self._limits.inbox:
            raise StoreBusy(f"{len(self._inbox)} writes wait already")
        waiting, began = _Waiting(operation), self._clock()
        self._inbox.append(waiting)
        self._wake.set()
        await waiting.done.wait()
        self.observe(self._clock() - began)
        if waiting.answer.error is not None:
            raise waiting.answer.error
        return cast("T", waiting.answer.value)

    @property
    def waiting(self) -> int:
        """How many operations wait to be carried out."""
        return len(self._inbox)

    async def open(self) -> None:
        """Open the ledger; cancelled meanwhile, it is open all the same."""
        await anyio.to_thread.run_sync(self._ledger.open, limiter=self._thread)

    async def run(self) -> None:
        """Work until closed and out of work; shielded, since those who leave still hand things in."""
        try:
            with self._scope:
                while self._inbox or not self._closing:
                    await self._pass()
                await self._in_thread(self._ledger.close)
        finally:
            self._ended.set()
            self._give_up()

    async def close(self) -> None:
        """Return when all that was handed in is written and the file is closed, or when that takes too long."""
        self._closing = True
        self._wake.set()
        with anyio.move_on_after(self._limits.close, shield=True):
            await self._ended.wait()
            return
        log.error("store.close_timed_out", waiting=len(self._inbox))
        self._abandoned = True
        self._scope.cancel()

    async def _pass(self) -> None:
        if self._inbox:
            await self._write([self._inbox.popleft() for _ in range(min(len(self._inbox), self._limits.batch))])
        elif self._clock() >= self._ledger.due:
            await self._in_thread(self._ledger.tend)
        else:
            # No await between the look at the inbox and the new event, or a wake-up is lost.
            self._wake = anyio.Event()
            with anyio.move_on_after(self._ledger.due - self._clock()):
                await self._wake.wait()

    async def _write(self, batch: list[_Waiting]) -> None:
        operations = [waiting.operation for waiting in batch]
        try:
            answers = await self._in_thread(lambda: self._ledger.work(operations))
        except BaseException:
            self._inbox.extendleft(reversed(batch))
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.settle(answer)

    def _give_up(self) -> None:
        while self._inbox:
            self._inbox.popleft().settle(Answer(error=anyio.ClosedResourceError()))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        # Only the end of `close` cancels in here: a disk that hangs must not keep the process.
        return await anyio.to_thread.run_sync(self._call, call, abandon_on_cancel=True, limiter=self._thread)

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        finally:
            if self._abandoned:
                self._ledger.close()
