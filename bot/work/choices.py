"""What people settled for threads and servers, kept over restarts: a JSON object for each, in the store's ``options``.

What a key means is the business of whoever puts it there. The mutable state is the objects by the id of the thread or
server; keys that nobody here knows stay in them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog

from bot.work.task_tracker import TaskTracker
from pool.store import SessionStore

log = structlog.get_logger(__name__)


class Choices:
    """Choices by place and key."""

    def __init__(self, steps: TaskTracker, store: SessionStore) -> None:
        self._steps = steps
        self._store = store
        self._objects: dict[int, dict[str, Any]] = {}

    async def load(self) -> None:
        """Read what was settled in earlier runs; what can't be understood is nothing."""
        for place_id, options in (await self._store.choices()).items():
            try:
                self._objects[place_id] = dict(orjson.loads(options))
            except (orjson.JSONDecodeError, TypeError, ValueError):
                log.warning("choice.ignored", place=place_id)

    def all(self, key: str) -> dict[int, Any]:
        """Return what is settled under a key, by place."""
        return {place_id: chosen[key] for place_id, chosen in self._objects.items() if key in chosen}

    def forget(self, place_id: int) -> None:
        """Drop what is settled for a place that is gone; its row is the store's to forget."""
        self._objects.pop(place_id, None)

    def put(self, place_id: int, key: str, value: object) -> None:
        """Settle something for a place; it is written down soon."""
        chosen = self._objects.setdefault(place_id, {})
        chosen[key] = value
        options = orjson.dumps(chosen).decode()
        write: Callable[..., Awaitable[None]] = self._store.bind
        self._steps.begin(lambda: write(place_id, options=options), name=f"choose {place_id}")
