"""The short loop around a prompt turn: it sends the prompt, sleeps until something is due, and does it.

The session feeds the turn in wire order and hands it the response; `acp.turn` decides. The loop never waits for whoever
shows the turn. The mutable state is the event that wakes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from acp.errors import AgentExit
from acp.permission_request import PermissionRequest
from acp.schema import ContentBlock
from acp.session import TurnSink
from acp.snapshot import Phase, TurnSnapshot
from acp.steering import not_steered
from acp.turn import Turn
from acp.turn_deadlines import Action


class PromptConnection(Protocol):
    """The process of a session, as far as a turn needs it."""

    def alive(self) -> bool:
        """Whether the process runs."""

    def exit(self) -> AgentExit | None:
        """How the process ended, None while it runs."""

    async def wait_exited(self) -> AgentExit:
        """Return how the process ended, at most a second after it did; what it wrote before was handed on."""

    def request_stop(self) -> None:
        """Tell the owner to end the process."""


class PromptSession(Protocol):
    """A session, as far as a turn needs it."""

    def begin_turn(
        self, turn: Turn, sink: TurnSink, prompt: list[ContentBlock], *, clock: Callable[[], float]
    ) -> object:
        """Send the prompt; from here on feed the turn, tell it of the response, and the sink of each change."""

    def cancel(self) -> None:
        """Answer the open permission requests and cancel the open prompt, in one write."""

    @property
    def can_steer(self) -> bool:
        """Whether the agent takes text into a running turn."""

    def steer(self, prompt: list[ContentBlock]) -> Awaitable[bool]:
        """Put text into the running turn, now; awaiting the result says whether it is part of it."""


class TurnControl:
    """Stops and steers a turn from anywhere, before it begins, while it runs and after it.

    Attributes:
        stopped_by: who asked for the end of the turn first.
        loop: runs the turn; None before and after.
    """

    def __init__(self) -> None:
        self.stopped_by: str | None = None
        self.loop: _TurnLoop | None = None

    def stop(self, by: str) -> None:
        """Ask for the end of the turn; the first who asks counts. Never waits."""
        if self.stopped_by is not None:
            return
        # Kept even while nothing runs: a turn that was stopped before its prompt is never prompted.
        self.stopped_by = by
        loop = self.loop
        # Decided before it is sent: what the agent answers to the cancel belongs to a turn that is stopped already.
        if loop is not None and loop.turn.cancel(loop.clock(), by):
            loop.session.cancel()
            loop.changed()

    @property
    def can_steer(self) -> bool:
        """Whether `steer` is worth a try: the turn runs, nobody has stopped it, and the agent takes text into it."""
        return self.loop is not None and self.loop.turn.phase is Phase.RUNNING and self.loop.session.can_steer

    def steer(self, prompt: list[ContentBlock]) -> Awaitable[bool]:
        """Put text into the running turn; it is written at once, so that texts keep their order.

        Awaiting the result, from any task, says whether the text is part of the turn: then it shares the turn's end.
        If not, and that is all that ever goes wrong, it has not been answered and is to be prompted (`acp.steering`).
        """
        return self.loop.session.steer(prompt) if self.loop is not None and self.can_steer else not_steered()


async def run_turn(
    connection: PromptConnection,
    session: PromptSession,
    turn: Turn,
    prompt: list[ContentBlock],
    sink: TurnSink,
    *,
    control: TurnControl,
    clock: Callable[[], float] = anyio.current_time,
) -> TurnSnapshot:
    """Send a prompt and see the turn to its end, whatever the agent does; return what it looks like then.

    ``clock`` is the event loop's; one that need not look the loop up, as the default does, saves a tenth of the cost of
    a chunk. If the caller is cancelled, the agent is sent a cancel, and the turn ends as stopped. Then, and after a
    kill, the prompt may still be open: the session must not be used again.
    """
    if control.stopped_by is not None:
        turn.withdraw(clock(), control.stopped_by)
        return turn.snapshot()
    # No await from here to the prompt: a stop that came between would be neither seen above nor sent to the agent.
    control.loop = loop = _TurnLoop(connection, session, turn, sink, clock)
    try:
        await loop.run(prompt)
    finally:
        control.loop = None
        if turn.phase is not Phase.ENDED:  # our caller was cancelled; nothing may wait here
            session.cancel()
            turn.withdraw(clock(), "the bot")
    return turn.snapshot()


class _TurnLoop:
    """One run of a turn; it is the turn's sink, too, so that a change of phase wakes it."""

    def __init__(
        self,
        connection: PromptConnection,
        session: PromptSession,
        turn: Turn,
        sink: TurnSink,
        clock: Callable[[], float],
    ) -> None:
        self.session = session
        self.turn = turn
        self.clock = clock
        self._connection = connection
        self._sink = sink
        self._wake = anyio.Event()
        self._planned = -1  # the turn's schedule by which the sleeping loop goes

    async def run(self, prompt: list[ContentBlock]) -> None:
        """Send the prompt and return when the turn has ended."""
        turn = self.turn
        # Before the prompt is written: the first update may count against the deadlines already.
        turn.begin(self.clock())
        self.session.begin_turn(turn, self, prompt, clock=self.clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_exit, name="turn exit watch")
            while turn.phase is not Phase.ENDED:
                # 1. Sleep until something is due. The plan is noted first: what changes it from here on wakes us.
                self._planned = turn.schedule
                with anyio.move_on_after(turn.next_wakeup() - self.clock()):
                    await self._wake.wait()
                self._wake = anyio.Event()
                # 2. Do it, without an await: the turn must not move on between what it decides and what is done.
                phase = turn.phase
                for action in turn.tick(self.clock()):
                    if action is Action.CANCEL:
                        self.session.cancel()
                    elif action is Action.KILL:
                        self._connection.request_stop()
                    elif not self._connection.alive():
                        turn.died(self._connection.exit(), self.clock())
                if turn.phase is not phase:
                    self._sink.changed()
            tasks.cancel_scope.cancel()

    async def _watch_exit(self) -> None:
        # Silence is probed for only now and then; an exit is known at once, with the last words before it.
        ended = await self._connection.wait_exited()
        self.turn.died(ended, self.clock())
        self.changed()

    def changed(self) -> None:
        """Pass a change on; wake the loop only if a deadline may have come nearer: chunks only push them away."""
        if self.turn.schedule != self._planned:
            self._wake.set()
        self._sink.changed()

    def permission(self, request: PermissionRequest) -> None:
        self._sink.permission(request)
