"""The second answer to what somebody asked: known later than the first one, which Discord waits for three seconds."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio

from bot.work.ports import Answer


class LaterAnswer:
    """An answer that is awaited, by as many as like, until somebody settles it."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._settled = anyio.Event()

    def settle(self, answer: Answer) -> None:
        """Give the answer; only the first counts."""
        self._answer = self._answer or answer
        self._settled.set()

    def __await__(self) -> Generator[Any, Any, Answer]:
        return self._wait().__await__()

    async def _wait(self) -> Answer:
        # No checkpoint where there is nothing to wait for: it counts even if the time for it has just passed.
        if self._answer is None:
            await self._settled.wait()
        assert self._answer is not None
        return self._answer
