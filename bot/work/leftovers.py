"""What a turn has started and left running: named in its thread, with a button that ends it (P13).

Agents run commands in separate process sessions, and not every agent ends them when its turn ends. What belongs to the
agent is looked up before the prompt and after the turn; what came in between and still runs a moment later is named.
The mutable state is the turns that are watched and what was left running, by the token in its button.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.shutdown import Members, StopLimits, command_line, end_processes, is_alive, outermost
from bot.model import Actor, Inbound
from bot.reply.cards import turn_button
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.ports import Answer
from bot.work.queue_notices import Notice, QueueNotices
from pool.pool import SessionLease

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds after the end of a turn that what it has started gets to end by itself."""

_LOOK_AGAIN = 2.0
"""Seconds between two looks at whether it still runs."""

_MOST_NAMED = 3
_TOKEN_BYTES = 9
EXPIRED = Answer("This button has expired: what it was for has ended.", accepted=False)


@dataclass(slots=True, eq=False)
class _Watch:
    """A turn that runs; ``before`` is what belonged to its agent when it began, None as long as that is not known."""

    lease: SessionLease
    looked: anyio.Event
    before: Members | None = None


@dataclass(slots=True, eq=False)
class _Left:
    """What a turn left running; ``by``: who asked for its end."""

    thread_id: int
    processes: Members
    named: str
    notice: Notice
    by: str = ""
    ended: anyio.Event = field(default_factory=anyio.Event)


@dataclass(eq=False)
class Leftovers:
    """Watches turns, tells what they leave running, and ends it when somebody asks for that.

    Args:
        tasks: owns the looks.
        notices: lets the next run know of what is shown here, which takes it away after a kill.
    """

    tasks: TaskGroup
    notices: QueueNotices
    _watched: dict[int, _Watch] = field(init=False, default_factory=dict)
    _left: dict[str, _Left] = field(init=False, default_factory=dict)
    _closed: bool = field(init=False, default=False)

    def watch(self, prompt: Inbound, lease: SessionLease) -> anyio.Event:
        """Look up what belongs to the agent of a turn; the turn waits with its prompt for the event.

        The agent must have its process to itself: beside other turns nobody could say which of them started what.
        """
        watch = self._watched[prompt.message_id] = _Watch(lease, anyio.Event())
        self.tasks.start_soon(self._look_before, watch, name=f"look {prompt.thread_id}")
        return watch.looked

    def ended(self, prompt: Inbound) -> None:
        """Tell, a moment after the end of a turn, what it has left running."""
        watch = self._watched.pop(prompt.message_id, None)
        if watch is not None and not self._closed and not self.tasks.cancel_scope.cancel_called:
            self.tasks.start_soon(self._look_after, watch, prompt, name=f"left by {prompt.message_id}")

    def end(self, thread_id: int, token: str, by: Actor) -> Answer:
        """End what a button of the thread names, in steps as an agent is ended (P9)."""
        left = self._left.get(token)
        if left is None or left.thread_id != thread_id:
            return EXPIRED
        # Of two people who press at once the first one ends it; from here to the answer there is no await.
        if left.by:
            return Answer("It is already being ended.", accepted=False)
        left.by = by.name
        log.info("leftovers.ended", thread=thread_id, user=by.id, pids=[one.pid for one in left.processes])
        self.tasks.start_soon(self._end, left, name=f"end left {thread_id}")
        return Answer("Ending it.", accepted=True)

    def describe(self, thread_id: int) -> list[str]:
        """Return a line for each turn of the thread of which something still runs."""
        return [f"Still running: {left.named}" for left in self._left.values() if left.thread_id == thread_id]

    def close(self) -> None:
        """The bot stops: agents end with all they have started, and so do the buttons."""
        # From here on no look may say anything more: agents end with all that they have started.
        self._closed = True
        for left in self._left.values():
            self.notices.end_beside(left.notice, Body(f"-# ✓ Ended with the restart of Weft: {left.named}"))

    # --- looks -----------------------------------------------------------------------------------------------------

    async def _look_before(self, watch: _Watch) -> None:
        try:
            watch.before = await watch.lease.connection.process.members(everywhere=False)
        except Exception:
            log.exception("leftovers.failed")
        finally:
            # Also after a failure: the turn waits for this with its prompt.
            watch.looked.set()

    async def _look_after(self, watch: _Watch, prompt: Inbound) -> None:
        try:
            # Before the next turn's look: what that one starts is its own.
            await watch.looked.wait()
            if watch.before is None:
                return
            started = await watch.lease.connection.process.members(everywhere=True) - watch.before
            await anyio.sleep(PATIENCE if started else 0)
            alive = frozenset(process for process in started if is_alive(process))
            if alive and not self._closed:
                await self._follow(prompt, alive)
        except Exception:
            log.exception("leftovers.failed", thread=prompt.thread_id)

    async def _follow(self, prompt: Inbound, alive: Members) -> None:
        """Say what still runs, and take that back once it does not."""
        thread_id, token, named = prompt.thread_id, secrets.token_urlsafe(_TOKEN_BYTES), named_shortly(alive)
        body = Body(f"-# ⚙️ Still running from this turn: {named}", (turn_button("end", thread_id, token),))
        log.info("leftovers.found", thread=thread_id, prompt=prompt.message_id, pids=[one.pid for one in alive])
        reply_to = None if prompt.opens_thread else prompt.message_id
        notice = self.notices.say_beside(thread_id, body, prompt.message_id, reply_to)
        # Known before it can be pressed.
        left = self._left[token] = _Left(thread_id, alive, named, notice)
        try:
            while any(is_alive(process) for process in alive) and not self._closed:
                # Looked at now and then: the kernel tells only a parent that its process has ended.
                with anyio.move_on_after(_LOOK_AGAIN):
                    await left.ended.wait()
                if left.ended.is_set():
                    break
        finally:
            del self._left[token]
        if self._closed:
            return  # `close` has said its last word
        still = frozenset(process for process in alive if is_alive(process))
        if not left.by:
            text = f"-# ✓ No longer running: {named}"
        elif still:
            # What can't be killed is said so, or people would believe that its port is free.
            text = f"-# ⚠️ {inline_code(left.by, 60)} tried to end it, and it still runs: {named_shortly(still)}"
        else:
            text = f"-# ⏹ Ended by {inline_code(left.by, 60)}: {named}"
        self.notices.end_beside(left.notice, Body(text))

    async def _end(self, left: _Left) -> None:
        try:
            await end_processes(left.processes, StopLimits())
        except Exception:
            log.exception("leftovers.failed", thread=left.thread_id)
        finally:
            # Also after a failure: the line then says that it still runs.
            left.ended.set()


def named_shortly(processes: Members) -> str:
    """Return the outermost of the processes by their command lines, for people; the others are counted."""
    found = outermost(processes)
    names = [f"{inline_code(command_line(one), 60)} (process {one.pid})" for one in found[:_MOST_NAMED]]
    more = len(found) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
