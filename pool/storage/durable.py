"""The `SessionStore` that outlives the process, and its one writer.

Each call is an operation in the writer's inbox, questions too: they see everything that was handed in before them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast

import anyio
import anyio.to_thread
import structlog

from acp.errors import leaves
from pool.storage import operations
from pool.storage.database import Connect, connect
from pool.storage.ledger import Ledger
from pool.storage.model import Answer, StorageLimits
from pool.storage.operations import Operation
from pool.store import (
    AcceptedPrompt,
    KeptNotice,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    StoreBusy,
    ThreadChanges,
    ThreadRecord,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class DurableStore:
    """Hands every call to the writer; see `pool.store.SessionStore` for the calls."""

    def __init__(self, writer: Writer, ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._writer, self._ledger, self._now = writer, ledger, now

    @property
    def trouble(self) -> str:
        return self._ledger.trouble

    @property
    def durable(self) -> bool:
        return True

    @property
    def behind(self) -> int:
        """How many calls and changes are not in the file yet."""
        return self._writer.waiting + self._ledger.backlog

    def observe(self, observe: Callable[[float], None]) -> None:
        """Call ``observe`` from now on with the seconds that each call took."""
        self._writer.observe = observe

    async def flush(self) -> bool:
        # The inbox is in order: once this is answered, all that came before is carried out.
        await self._writer.submit(operations.Nothing())
        return self._ledger.backlog == 0

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        # Only a new prompt is refused: what happens to one that was accepted has to be kept, however much waits.
        return await self._writer.submit(operations.Accept(prompt), refusable=True)

    async def amend(self, message_id: int, payload: str) -> None:
        await self._writer.submit(operations.Amend(message_id, payload))

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        parts = operations.Started(first), *(operations.Started(other, first) for other in others)
        await self._writer.submit(operations.StartedTogether(parts))

    async def shown(self, message_id: int, messages: tuple[int, ...]) -> None:
        await self._writer.submit(operations.Shown(message_id, messages))

    async def save_pending_reply(self, message_id: int, outcome: str, payload: str) -> None:
        await self._writer.submit(operations.SavePendingReply(message_id, outcome, payload))

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False) -> None:
        await self._writer.submit(operations.Finish(message_id, outcome, int(self._now()), keep))

    async def turn(self, message_id: int) -> list[OpenPrompt]:
        return await self._writer.submit(operations.TurnOf(message_id))

    async def open_prompts(self) -> list[OpenPrompt]:
        return await self._writer.submit(operations.OpenPrompts())

    async def pending_replies(self) -> list[PendingReply]:
        return await self._writer.submit(operations.PendingReplies())

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        return await self._writer.submit(operations.Thread(thread_id))

    async def bind(self, thread_id: int, **changes: Unpack[ThreadChanges]) -> None:
        # A field that is not given is not in there; one that is None is to be emptied.
        given = cast("dict[str, str | None]", changes)
        await self._writer.submit(operations.Bind(thread_id, tuple(given.items()), int(self._now())))

    async def forget(self, gone: Iterable[int]) -> None:
        await self._writer.submit(operations.Forget(tuple(gone)))

    async def choices(self) -> dict[int, str]:
        return await self._writer.submit(operations.Choices())

    async def keep_notice(self, notice: KeptNotice) -> None:
        await self._writer.submit(operations.Notice(notice.thread_id, notice))

    async def drop_notice(self, thread_id: int) -> None:
        await self._writer.submit(operations.Notice(thread_id, None))

    async def notices(self) -> list[KeptNotice]:
        return await self._writer.submit(operations.Notices())

    async def see(self, places: Iterable[SeenPlace]) -> None:
        if seen := tuple(places):
            await self._writer.submit(operations.See(seen))

    async def places(self) -> list[SeenPlace]:
        return await self._writer.submit(operations.Places())


@asynccontextmanager
async def open_store(
    path: Path,
    limits: StorageLimits | None = None,
    *,
    connect: Connect = connect,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[DurableStore]:
    """Keep the store in the file at ``path``, whose directory exists; it is made if there is none.

    A file that can't be used is no error: see `DurableStore.trouble`. On leaving, all that was handed in is written.

    Raises:
        FileTooNew: the file was written by a newer version of the bot; it was not changed.
    """
    limits = limits or StorageLimits()
    ledger = Ledger(path, limits, connect, now=now)
    writer = Writer(ledger, limits)
    await writer.open()  # a file that is too new is refused before anybody could hand something in
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            try:
                yield DurableStore(writer, ledger, now)
            finally:
                await writer.close()
    except BaseExceptionGroup as group:
        causes = leaves(group)
        if len(causes) > 1:
            raise
        # The body's own error, and not the group that the writer's task makes of it.
        raise causes[0] from causes[0].__cause__


@dataclass(slots=True)
class _Waiting:
    operation: Operation[Any]
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer = field(default_factory=Answer)


class Writer:
    """Takes operations from any task; `run` is its own, `close` ends it.

    What waits is carried out in batches, in the order in which it was handed in.

    Attributes:
        observe: called with the seconds that each operation took, from the call to its answer; None: nobody counts.
    """

    def __init__(self, ledger: Ledger, limits: StorageLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._limits, self._clock = ledger, limits, clock
        self.observe: Callable[[float], None] | None = None
        self._inbox: deque[_Waiting] = deque()
        self._wake = anyio.Event()
        self._closing = False
        self._abandoned = False
        self._ended = anyio.Event()
        # Shielded: tasks that are being cancelled still hand in the results of their work.
        self._scope = anyio.CancelScope(shield=True)
        # A limiter that nobody else uses up; and SQLite wants one call at a time.
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
        # A caller that gives up leaves its operation in the inbox: what comes later may count on it.
        await waiting.done.wait()
        if self.observe is not None:
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
            while self._inbox:
                waiting = self._inbox.popleft()
                waiting.answer = Answer(error=anyio.ClosedResourceError())
                waiting.done.set()

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
        try:
            # One transaction for all: what costs is the sync at its end.
            answers = await self._in_thread(lambda: self._ledger.work([waiting.operation for waiting in batch]))
        except BaseException:
            # Nobody knows whether it was written, so the callers get the error of a closed store and not an answer.
            self._inbox.extendleft(reversed(batch))
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer = answer
            waiting.done.set()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        # Only the end of `close` cancels in here: a disk that hangs must not keep the process.
        return await anyio.to_thread.run_sync(self._call, call, abandon_on_cancel=True, limiter=self._thread)

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        finally:
            if self._abandoned:  # nobody waits for this thread any more, so it has to close the file itself
                self._ledger.close()
