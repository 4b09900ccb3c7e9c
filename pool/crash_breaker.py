"""Holds back a thread whose agent fails to start again and again (pure)."""

from __future__ import annotations

import math
from collections import deque

from acp.errors import AgentSpawnError, SpawnFailure


class CrashBreaker:
    """Counts failed starts of each thread; it opens at so many ``starts`` within ``window`` seconds.

    It stays open for another window after the last of them. A thread's failures hold no other thread back.
    """

    def __init__(self, starts: int, window: float) -> None:
        self._starts = starts
        self._window = window
        self._failures: dict[int, deque[float]] = {}

    def failed(self, thread_id: int, now: float) -> None:
        """Count a failed start after which another try may succeed."""
        # No more than count: the first and the last of them tell within what time they came.
        self._failures.setdefault(thread_id, deque(maxlen=self._starts)).append(now)

    def reset(self, thread_id: int) -> None:
        """Forget a thread's failures: it started, or somebody asked for a new try."""
        self._failures.pop(thread_id, None)

    def wait_for(self, thread_id: int, now: float) -> float:
        """Return in how many seconds the thread may start again; 0 if it may now."""
        failures = self._failures.get(thread_id)
        if failures is None or len(failures) < self._starts or failures[-1] - failures[0] > self._window:
            return 0.0
        return max(0.0, failures[-1] + self._window - now)

    def refusal(self, thread_id: int, now: float) -> AgentSpawnError | None:
        """Return the error for a thread that may not start yet; None if it may."""
        seconds = self.wait_for(thread_id, now)
        if seconds <= 0:
            return None
        text = f"the agent failed to start {self._starts} times in a row; next try in {math.ceil(seconds)} s"
        return AgentSpawnError(text, failure=SpawnFailure.OTHER)

    def prune(self, now: float) -> None:
        """Forget the threads whose last failure is older than the window: the map must not grow for ever."""
        for thread_id, failures in tuple(self._failures.items()):
            if now - failures[-1] > self._window:
                del self._failures[thread_id]
