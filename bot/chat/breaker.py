"""Stops calls before Discord bans the address: it does so at 10,000 refused requests in ten minutes.

Ours stays below 1,000. `Breaker` counts and decides and takes the time from outside; `trace` lets it see every answer
of a client's HTTP session. Refused are 401, 403 and 429, unless the limit that was hit is shared with others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace

import aiohttp
import structlog

log = structlog.get_logger(__name__)

WINDOW = 600.0  # seconds
SPARING, CLOSED = 900, 990  # refused requests in a window
_REFUSED = frozenset({401, 403, 429})
_SCOPE, _SHARED = "X-RateLimit-Scope", "shared"


class Level(IntEnum):
    """What still goes out."""

    ALL = 0
    ESSENTIAL = 1
    NOTHING = 2


class Breaker:
    """Counts refused requests over all clients. The mutable state is their times, and the level that was told last."""

    def __init__(
        self, sparing: int = SPARING, closed: int = CLOSED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sparing, self._closed, self._clock = sparing, closed, clock
        self._times: deque[float] = deque(maxlen=closed)
        self._told = Level.ALL

    def count(self, status: int, scope: str | None = None) -> None:
        """Take note of an answer."""
        if status in _REFUSED and scope != _SHARED:
            self._times.append(self._clock())
            self._tell()

    def level(self) -> Level:
        """Return what may go out now."""
        since = self._clock() - WINDOW
        while self._times and self._times[0] <= since:
            self._times.popleft()
        count = len(self._times)
        return Level.NOTHING if count >= self._closed else Level.ESSENTIAL if count >= self._sparing else Level.ALL

    def lets(self, *, essential: bool) -> bool:
        """Return whether a call may go out."""
        self._tell()
        return self._told is Level.ALL or (essential and self._told is Level.ESSENTIAL)

    def _tell(self) -> None:
        level = self.level()
        if level > self._told:
            log.warning("breaker.opened", level=level.name.lower(), refused=len(self._times), window=WINDOW)
        elif level < self._told:
            log.info("breaker.closed", level=level.name.lower(), refused=len(self._times))
        self._told = level


def trace(breaker: Breaker) -> aiohttp.TraceConfig:
    """Return what shows a breaker the answers of an HTTP session."""

    async def ended(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        breaker.count(told.response.status, told.response.headers.get(_SCOPE))

    config = aiohttp.TraceConfig()
    config.on_request_end.append(ended)
    return config
