"""Output that comes outside any turn: collected for a moment, then shown as a message of its own (O3).

Text and tool results only; metadata never makes a message. The mutable state is what was collected and not yet shown.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from acp.schema import AgentMessageChunk, SessionUpdate, ToolCallUpdate
from bot.reply.port import Body
from bot.reply.sanitise import clean, inline_code
from bot.reply.split import take

QUIET = 1.0
"""Seconds without further output after which what was collected is shown."""

LIMIT = 1800
"""UTF-16 code units of one message; what is beyond is counted, not shown."""

HEADING = "-# Output outside a turn:"


class LateOutput:
    """Collects one thread's output outside turns.

    Args:
        tasks: owns the task that waits for the quiet moment.
        say: posts the message.
    """

    def __init__(self, tasks: TaskGroup, say: Callable[[Body], object], quiet: float = QUIET) -> None:
        self._tasks = tasks
        self._say = say
        self._quiet = quiet
        self._parts: list[str] = []
        self._until_quiet = anyio.CancelScope()

    def feed(self, update: SessionUpdate) -> None:
        """Take an update that belongs to no turn that is running."""
        text = late_text(update)
        if not text:
            return
        if not self._parts:
            self._until_quiet = anyio.CancelScope()
            self._tasks.start_soon(self._show_when_quiet, name="late output")
        self._parts.append(text)
        self._until_quiet.deadline = anyio.current_time() + self._quiet

    async def _show_when_quiet(self) -> None:
        with self._until_quiet:
            await anyio.sleep_forever()
        text = "".join(self._parts)
        self._parts.clear()
        self._say(Body(f"{HEADING}\n{late_message(text)}"))


def late_message(text: str) -> str:
    """Return as much of the text as one message holds, with its code blocks closed, and how much is left out."""
    shown = take(clean(text), limit=LIMIT)
    more = len(clean(text)) - len(shown.source)
    return shown.text + (f"\n-# … and {more:,} characters more" if more else "")


def late_text(update: SessionUpdate) -> str:
    """Return what a person should see of an update outside a turn, or nothing."""
    if isinstance(update, AgentMessageChunk):
        return update.content.text or ""
    if isinstance(update, ToolCallUpdate) and update.status in ("completed", "failed"):
        return f"\n-# {inline_code(update.title or 'a tool call')}: {update.status}\n"
    return ""
