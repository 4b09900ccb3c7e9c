"""What is visible of replies that an earlier run left behind, read before anything is sent.

One recall after the other is read and applied; which message shows what is decided in `bot.reply.rejoin`. The mutable
state is the recalls that wait and the messages that are known to be some reply's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup

from bot.reply.outbox import Outbox
from bot.reply.port import PortError, ThreadGone, ThreadPort, Unavailable
from bot.reply.rejoin import Found

log = structlog.get_logger(__name__)

READ_LIMIT = 200
"""Messages of a thread that are read to find out what is visible after a restart."""

READ_AGAIN, READ_PATIENCE = 5.0, 3600.0
"""Seconds until they are read again when Discord can't be reached, and after which the thread goes on without."""

Apply = Callable[[Found], Iterable[int]]
"""Takes over what was found of a reply, and returns the messages that are the reply's."""


@dataclass(frozen=True, slots=True)
class _Recall:
    """A reply whose messages follow ``after``; ``shown`` are those that were recorded."""

    after: int
    shown: tuple[int, ...]
    apply: Apply


class Recalls:
    """The recalls of one thread.

    Args:
        as_shown: what the port makes of a text before Discord gets it.
        on_end: called when all were applied.
    """

    def __init__(
        self, port: ThreadPort, outbox: Outbox, as_shown: Callable[[str], str], on_end: Callable[[], None]
    ) -> None:
        self._port = port
        self._outbox = outbox
        self._as_shown = as_shown
        self._on_end = on_end
        self._waiting: deque[_Recall] = deque()
        self._claimed: set[int] = set()
        self._reading = False

    @property
    def pending(self) -> bool:
        """Whether one is still to be applied."""
        return bool(self._waiting)

    def add(self, after: int, shown: tuple[int, ...], apply: Apply) -> None:
        """Let ``apply`` have what can be the messages of a reply, in its turn; nothing, if they can't be read."""
        self._claimed.update(shown)
        self._waiting.append(_Recall(after, shown, apply))

    def begin(self, tasks: TaskGroup) -> None:
        """Start to read, unless that is under way or there is nothing to read."""
        if self._waiting and not self._reading:
            self._reading = True
            tasks.start_soon(self._read_up)

    async def _read_up(self) -> None:
        """Read what is there for one recall after the other, and apply it."""
        while self._waiting:
            recall = self._waiting[0]
            texts = await self._read(min([recall.after, *recall.shown]) - 1)
            # It waits until here: while there is one, nothing is sent.
            self._waiting.popleft()
            self._claimed.update(recall.apply(self._found(recall, texts)))
        self._reading = False
        self._on_end()

    def _found(self, recall: _Recall, texts: Mapping[int, str]) -> Found:
        """Return what was read, with the messages that can be the reply's and are nobody's as far as is known."""
        newest = max([recall.after, *recall.shown])
        found = Found(texts, as_shown=self._as_shown)
        return found.unrecorded(newest, self._outbox.oldest, frozenset(self._claimed))

    async def _read(self, after: int) -> Mapping[int, str]:
        """Read until Discord answers: while it can't be reached, nothing could be sent either."""
        patience = anyio.current_time() + READ_PATIENCE
        while anyio.current_time() < patience:
            try:
                return await self._read_once(after)
            except Unavailable as error:
                log.warning("messages.not_read", error=repr(error), after=after)
                await anyio.sleep(READ_AGAIN)
        return {}

    async def _read_once(self, after: int) -> Mapping[int, str]:
        try:
            messages = await self._port.own_messages(after, READ_LIMIT)
            # What they are compared with is stripped by the same rule, which need not be Discord's.
            return {key: text.strip() for key, text in messages}
        except ThreadGone as error:
            self._outbox.end(str(error))
        except Unavailable:
            raise
        except PortError as error:
            log.warning("messages.not_read", error=repr(error), after=after)
        except Exception:
            log.exception("messages.not_read", after=after)
        return {}
