"""What people chose for threads and servers, kept over restarts: the queue mode (Q2).

The mutable state is the map of choices by the id of the thread or server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
import structlog

from bot.work.model import Inbound, QueueMode
from bot.work.steps import Steps
from pool.store import SessionStore

log = structlog.get_logger(__name__)

_KEY = "queue_mode"


class Modes:
    """Queue modes by place.

    Args:
        default: where nobody has chosen.
    """

    def __init__(self, steps: Steps, store: SessionStore, default: QueueMode) -> None:
        self.default = default
        self._steps = steps
        self._store = store
        self._chosen: dict[int, QueueMode] = {}

    async def load(self) -> None:
        """Read what was chosen in earlier runs; a choice that can't be understood is none."""
        for place_id, options in (await self._store.choices()).items():
            try:
                self._chosen[place_id] = QueueMode(orjson.loads(options)[_KEY])
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                log.warning("choice.ignored", place=place_id)

    def of(self, inbound: Inbound) -> QueueMode:
        """Return the mode of a message: its own, else that of its thread, else of its server, else the default."""
        return inbound.mode or self.at(inbound.thread_id, inbound.guild_id)

    def at(self, thread_id: int, guild_id: int | None = None) -> QueueMode:
        """Return the mode in force in a thread."""
        of_server = self._chosen.get(guild_id) if guild_id is not None else None
        return self._chosen.get(thread_id) or of_server or self.default

    def choose(self, place_id: int, mode: QueueMode) -> None:
        """Take a choice for a thread or a server; it holds at once."""
        self._chosen[place_id] = mode
        options = orjson.dumps({_KEY: mode}).decode()
        write: Callable[..., Awaitable[None]] = self._store.bind
        self._steps.begin(lambda: write(place_id, options=options), name=f"choose {place_id}")
