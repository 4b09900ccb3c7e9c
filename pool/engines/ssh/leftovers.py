"""What an ssh engine could not see to its end: agents on hosts that went away, and hosts that missed a sweep.

Each is tried again with growing pauses, at once when its host is needed, and forgotten once nothing of it is left. The
mutable state is the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import structlog

from pool.engines.ssh.settings import SshHost

FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 300.0

log = structlog.get_logger(__name__)

EndMarked = Callable[[SshHost, str], Awaitable[bool]]
"""Ends all that carries a mark on a host; returns whether nothing of it is left. Never raises."""


@dataclass(eq=False, slots=True)
class Leftover:
    """Something to end on a host: all that carries a mark.

    Attributes:
        thread: whose it was; "" for a whole host's.
        place: for people.
    """

    host: SshHost
    mark: str
    thread: str
    place: str
    pause: float = FIRST_PAUSE
    due: float = 0.0
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class Leftovers:
    """The list, and the task that works it off."""

    def __init__(self, end: EndMarked, clock: Callable[[], float] = anyio.current_time) -> None:
        self._end = end
        self._clock = clock
        self._list: list[Leftover] = []
        self._more = anyio.Event()

    def add(self, host: SshHost, mark: str, thread: str, place: str, pause: float = 0.0) -> None:
        """Have something ended, the first try after a pause in seconds."""
        self._list.append(Leftover(host, mark, thread, place, due=self._clock() + pause))
        self._more.set()

    def has(self, host: SshHost, mark: str) -> bool:
        """Return whether that is to be ended already."""
        return any(one.host is host and one.mark == mark for one in self._list)

    def places(self) -> tuple[str, ...]:
        """Return what is left, for people."""
        return tuple(one.place for one in self._list)

    async def end_of(self, true: Callable[[Leftover], bool]) -> bool:
        """Try those again that are meant; return whether none of these is left."""
        meant = [one for one in self._list if true(one)]
        async with anyio.create_task_group() as tasks:
            for one in meant:
                tasks.start_soon(self._try, one)
        return not any(one in self._list for one in meant)

    async def work(self) -> None:
        """Try what is due, for ever."""
        while True:
            # New before the look at the list: what is added after that sets this one.
            self._more = anyio.Event()
            next_due = min((one.due for one in self._list), default=None)
            with anyio.move_on_after(None if next_due is None else max(0.0, next_due - self._clock())):
                await self._more.wait()
            now = self._clock()
            await self.end_of(lambda one: one.due <= now)  # noqa: B023  awaited here

    async def _try(self, one: Leftover) -> None:
        async with one.lock:
            # Somebody else has just ended it.
            if one not in self._list:
                return
            if await self._end(one.host, one.mark):
                self._list.remove(one)
                log.info("ssh.leftover_ended", place=one.place)
                return
            one.due = self._clock() + one.pause
            one.pause = min(2 * one.pause, LONGEST_PAUSE)
