"""What an engine does in the background goes on after a fault: one answer that nobody foresaw must not end the bot.

There is no state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

PAUSE: Final = 5.0
"""Seconds before what failed begins anew."""

log = structlog.get_logger(__name__)


async def keep_going(engine: str, work: Callable[[], Awaitable[None]], pause: float = PAUSE) -> None:
    """Do what goes on for as long as the engine is entered; after a fault it begins anew."""
    while True:
        try:
            return await work()
        except Exception:  # whatever it is: it would end all tasks of the engine, and with them the bot
            log.exception("engine.upkeep_failed", engine=engine)
        await anyio.sleep(pause)


async def watch_agent(
    engine: str, watch: Callable[[], Awaitable[None]], give_up: Callable[[str], Awaitable[None]]
) -> None:
    """Watch one agent to its end; one that can't be watched any more is given up."""
    try:
        await watch()
    except Exception:  # as above
        log.exception("engine.watch_failed", engine=engine)
        await give_up("an answer of the engine was not understood")
