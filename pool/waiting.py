"""The one way to wait for what the registry decides: it holds nothing, and looks again after each change."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from pool.registry import Registry


async def until(registry: Registry, holds: Callable[[], bool]) -> None:
    """Wait until something holds that only a change makes hold, or the passing of the bound on what ends."""
    while not holds():
        with anyio.move_on_after(registry.leaks.next(registry.clock())):
            await registry.changes.wait()
        registry.leaks.mark(registry.clock())
