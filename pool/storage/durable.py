"""The `SessionStore` that outlives the process; see `pool.store` for the calls.

Each call is an operation in the writer's inbox, questions too: they see everything that was handed in before them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Unpack, cast

import anyio

from pool.storage import operations, sqlite
from pool.storage.ledger import Ledger
from pool.storage.model import StorageLimits
from pool.storage.writer import Writer
from pool.store import AcceptedPrompt, KeptNotice, OpenPrompt, OwedReply, SeenPlace, ThreadChanges, ThreadRecord


class DurableStore:
    """Hands every call to the writer."""

    def __init__(self, writer: Writer, ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._writer, self._ledger, self._now = writer, ledger, now

    @property
    def trouble(self) -> str:
        """What is wrong with the file, in a few words; empty when all is well."""
        return self._ledger.trouble

    @property
    def durable(self) -> bool:
        """What is kept here outlives the process, as soon as `trouble` is over."""
        return True

    @property
    def behind(self) -> int:
        """How many calls and changes are not in the file yet."""
        return self._writer.waiting + self._ledger.backlog

    def observe(self, observe: Callable[[float], None]) -> None:
        """Have ``observe`` told from now on how many seconds each call took."""
        self._writer.observe = observe

    async def flush(self) -> bool:
        """Wait until all that was handed in before is written; False: the file does not have it yet."""
        await self._writer.submit(operations.Nothing())
        return self._ledger.backlog == 0

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before.

        Raises:
            StoreBusy: too much waits to be written.
        """
        return await self._writer.submit(operations.Accept(prompt), refusable=True)

    async def amend(self, message_id: int, payload: str) -> None:
        """Replace what is kept of a prompt that waits."""
        await self._writer.submit(operations.Amend(message_id, payload))

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        """Say that prompts are about to be sent to the agent, as one turn."""
        parts = operations.Started(first), *(operations.Started(other, first) for other in others)
        await self._writer.submit(operations.StartedTogether(parts))

    async def shown(self, message_id: int, messages: tuple[int, ...]) -> None:
        """Say which messages show the reply so far."""
        await self._writer.submit(operations.Shown(message_id, messages))

    async def owe(self, message_id: int, outcome: str, payload: str) -> None:
        """Say how the prompt ended and what its reply is."""
        await self._writer.submit(operations.Owe(message_id, outcome, payload))

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False) -> None:
        """Say that the end of the prompt is visible; unless it is to be kept, its payload is dropped."""
        await self._writer.submit(operations.Finish(message_id, outcome, int(self._now()), keep))

    async def turn(self, message_id: int) -> list[OpenPrompt]:
        """Return the prompts that are one turn with this one, of which the payload is kept."""
        return await self._writer.submit(operations.TurnOf(message_id))

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""
        return await self._writer.submit(operations.OpenPrompts())

    async def owed(self) -> list[OwedReply]:
        """Return the replies on their way."""
        return await self._writer.submit(operations.OwedReplies())

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""
        return await self._writer.submit(operations.Thread(thread_id))

    async def bind(self, thread_id: int, **changes: Unpack[ThreadChanges]) -> None:
        """Change what is remembered of a thread; what is not given stays as it is."""
        given = cast("dict[str, str | None]", changes)
        await self._writer.submit(operations.Bind(thread_id, tuple(given.items()), int(self._now())))

    async def forget(self, gone: Iterable[int]) -> None:
        """Forget threads, channels or servers that are gone, with all that stands in them."""
        await self._writer.submit(operations.Forget(tuple(gone)))

    async def choices(self) -> dict[int, str]:
        """Return the options of all threads that have some."""
        return await self._writer.submit(operations.Choices())

    async def keep_notice(self, notice: KeptNotice) -> None:
        """Remember the notice of a thread."""
        await self._writer.submit(operations.Notice(notice.thread_id, notice))

    async def drop_notice(self, thread_id: int) -> None:
        """Forget the notice of a thread."""
        await self._writer.submit(operations.Notice(thread_id, None))

    async def notices(self) -> list[KeptNotice]:
        """Return the notices of all threads that have one."""
        return await self._writer.submit(operations.Notices())

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Remember places."""
        if seen := tuple(places):
            await self._writer.submit(operations.See(seen))

    async def places(self) -> list[SeenPlace]:
        """Return the places, the one with the newest message first."""
        return await self._writer.submit(operations.Places())


@asynccontextmanager
async def open_store(
    path: Path,
    limits: StorageLimits | None = None,
    *,
    connect: sqlite.Connect = sqlite.connect,
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
    await writer.open()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            try:
                yield DurableStore(writer, ledger, now)
            finally:
                await writer.close()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__
