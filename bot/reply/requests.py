"""Requests to a thread, each done to its end: one that was cancelled may have been done all the same.

Which ones, and when, is decided in `bot.reply.outbox`; how Discord is called is the port's business. The mutable state
is the scopes of those under way and when the last of them must have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import anyio
import structlog

from bot.reply.outbox import NOTHING, Op, Outbox
from bot.reply.port import PortError, ThreadGone, ThreadPort

log = structlog.get_logger(__name__)

LEAVE_LIMIT = 5.0
"""Seconds that requests under way may still take once the editor was cancelled; the port adds its own."""


class Requests:
    """Does requests and tells the outbox what came of them; ``on_end`` is called after each."""

    def __init__(
        self, port: ThreadPort, outbox: Outbox, clock: Callable[[], float], on_end: Callable[[], None]
    ) -> None:
        self._port = port
        self._outbox = outbox
        self._clock = clock
        self._on_end = on_end
        self._leave_by = inf
        self._under_way: set[anyio.CancelScope] = set()

    async def perform(self, op: Op) -> None:
        """Post, edit or delete a message."""
        with self._unbroken():
            try:
                message_id = await self._do(op)
            except PortError as error:
                log.debug("message.refused", error=repr(error), message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            except Exception as error:
                log.exception("message.failed", message=op.message_id)
                self._outbox.failed(op, error, self._clock())
            else:
                self._outbox.succeeded(op, message_id)
        self._on_end()

    async def _do(self, op: Op) -> int:
        if op.message_id is None:
            return await self._port.send(op.body, nonce=op.nonce, reply_to=op.cell.reply_to)
        if op.body == NOTHING:
            await self._port.delete(op.message_id)
        else:
            await self._port.edit(op.message_id, op.body)
        return op.message_id

    async def show_typing(self) -> None:
        """Show the typing sign; it is no matter if that fails, unless the thread is gone."""
        with self._unbroken():
            try:
                await self._port.typing()
            except ThreadGone as error:
                self._outbox.end(str(error))
            except PortError as error:
                log.debug("typing.refused", error=repr(error))
        self._on_end()

    def leave(self) -> None:
        """Bound what is under way: a call that is tried again and again must not hold up the end of the bot (R1)."""
        self._leave_by = anyio.current_time() + LEAVE_LIMIT
        for scope in self._under_way:
            scope.deadline = self._leave_by

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Keep a cancellation away from a request until `leave()` has set it a bound, and that has passed."""
        with anyio.CancelScope(shield=True, deadline=self._leave_by) as scope:
            self._under_way.add(scope)
            try:
                yield
            finally:
                self._under_way.discard(scope)
