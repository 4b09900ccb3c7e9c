"""Tasks that take prompts to their ends: counted, so that the end of the bot can wait for them.

A task that fails is logged and harms no other. The mutable state is the count of tasks under way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class TaskTracker:
    """Starts tasks in a task group and counts them.

    Attributes:
        under_way: how many have begun and not ended.
    """

    tasks: TaskGroup
    under_way: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def over(self) -> bool:
        """Whether no more tasks may be started: the agents and Discord's connection end after the work."""
        return self.tasks.cancel_scope.cancel_called

    def begin(self, step: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Start a task."""

        async def run() -> None:
            try:
                await step(*args)
            except Exception:
                log.exception("step.failed", step=name)
            finally:
                self.under_way -= 1
                self.changed()

        # Counted before it begins: the end of the bot must not look in between and find nothing to wait for.
        self.under_way += 1
        self.tasks.start_soon(run, name=name)

    def changed(self) -> None:
        """Let `until` look again."""
        # A new event for the next wait: one that stays set would wake everybody all the time.
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until ``done``, which is asked whenever a task has ended or something `changed`."""
        while not done():
            await self._changed.wait()
