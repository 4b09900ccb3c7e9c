"""Output that comes outside any turn: collected for a moment, then shown as a separate message (O3).

Text and tool results only; metadata never makes a message. The mutable state is what was collected and not yet shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.schema import AgentMessageChunk, SessionUpdate, ToolCallUpdate
from acp.session import AgentSession
from acp.tool_calls import ToolCalls, block_text, has_result
from bot.reply.port import Body
from bot.reply.sanitise import clean
from bot.reply.split import take
from bot.reply.tools import output_block, tool_line
from bot.work.editors import Editors
from bot.work.task_tracker import TaskTracker

QUIET = 1.0
"""Seconds without further output after which what was collected is shown."""

LONGEST = 10.0
"""Seconds after which it is shown although the agent goes on."""

KEPT = 64 * 1024
"""Characters that are kept of what was not shown yet; the rest is counted."""

LIMIT = 1800
"""UTF-16 code units of one message; what is beyond is counted, not shown."""

CUT_OFF = Body(
    "-# The agent had no prompt for a long time, or its place was needed: Weft ended it while it still worked. "
    "Write to go on."
)

HEADING = "-# Output outside a turn:"

log = structlog.get_logger(__name__)


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
        self._room = KEPT
        self._left_out = 0
        self._latest = 0.0
        self._until_quiet = anyio.CancelScope()

    def feed(self, update: SessionUpdate) -> None:
        """Take an update that belongs to no turn that is running."""
        text = late_text(update)
        if not text:
            return
        now = anyio.current_time()
        if not self._parts:
            self._latest = now + LONGEST
            self._until_quiet = anyio.CancelScope()
            self._tasks.start_soon(self._show_when_quiet, name="late output")
        # Put off by each update, but not for ever: an agent that never pauses would be heard only at its end.
        self._until_quiet.deadline = min(now + self._quiet, self._latest)
        # Bounded: an agent may print without end while nobody has asked it anything.
        kept = text[: self._room]
        if kept:
            self._parts.append(kept)
        self._room -= len(kept)
        self._left_out += len(text) - len(kept)

    async def _show_when_quiet(self) -> None:
        with self._until_quiet:
            await anyio.sleep_forever()
        # Taken before it is said: what comes from here on begins the next message.
        text, left_out = "".join(self._parts), self._left_out
        self._parts, self._room, self._left_out = [], KEPT, 0
        try:
            self._say(Body(f"{HEADING}\n{late_message(text, left_out)}"))
        except Exception:
            # A fault in one thread's output must not end the work of the others.
            log.exception("late_output.failed")


def late_message(text: str, left_out: int = 0) -> str:
    """Return as much of the text as one message holds, with its code blocks closed, and how much is left out."""
    shown = take(clean(text), limit=LIMIT)
    more = len(clean(text)) - len(shown.source) + left_out
    return shown.text + (f"\n-# … and {more:,} characters more" if more else "")


def late_text(update: SessionUpdate) -> str:
    """Return what a person should see of an update outside a turn, or nothing."""
    if isinstance(update, AgentMessageChunk):
        return block_text(update.content)
    if not isinstance(update, ToolCallUpdate) or not has_result(update):
        return ""
    # By way of the turn's own table: title, status and output are cut and cleaned there as in a reply.
    calls = ToolCalls(1, LIMIT // 2, LIMIT // 2)
    calls.merge(update)
    (tool,) = calls.states()
    output = f"{output_block(tool.output)}\n" if tool.output.strip() else ""
    return f"\n{tool_line(tool.title or 'a tool call', tool.status)}\n{output}"


@dataclass(eq=False)
class LateOutputs:
    """Shows what sessions say outside their turns, each in its thread."""

    tasks: TaskGroup
    tracker: TaskTracker
    editors: Editors

    def attend(self, thread_id: int, session: AgentSession) -> None:
        """Show from now on what the session says outside its turns; once for each session."""
        if session.on_late is None:
            # The editor is asked for when there is something to say: by then another may own the thread.
            late = LateOutput(self.tasks, lambda body: self._say(thread_id, body))
            # A session outlives its turns: it is attended once, or its output would be shown once for each turn.
            session.on_late = lambda update: None if self.tracker.over else late.feed(update)

    def cut_off(self, thread_id: int) -> None:
        """Say that the agent of a thread was ended although it was just at work outside a turn."""
        # At the end of the bot all agents are ended: that is said once for all.
        if not self.tracker.over:
            self._say(thread_id, CUT_OFF)

    def _say(self, thread_id: int, body: Body) -> None:
        notice = self.editors.of(thread_id).say(body)

        async def deliver() -> None:
            await notice.delivered()
            self.editors.let_go(thread_id)

        # Not counted by the tracker: the end of the bot does not wait for what nobody asked for.
        self.tasks.start_soon(deliver, name="late output")
