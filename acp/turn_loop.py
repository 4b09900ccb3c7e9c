"""The short loop around a prompt turn: it sends the prompt, sleeps until something is due, and does it.

The session feeds the turn in wire order and tells of the response; what a turn decides is `acp.turn`'s business. The
loop never waits for whoever shows the turn. The mutable state is the event that wakes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from acp.errors import AgentExit
from acp.permission import PermissionRequest
from acp.schema import ContentBlock
from acp.session import TurnSink
from acp.steering import not_steered
from acp.turn import Action, Phase, Turn, TurnSnapshot


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
    """Stops and steers a turn from anywhere, before it begins, while it runs and after it."""

    def __init__(self) -> None:
        self.stopped_by: str | None = None
        self._loop: _TurnLoop | None = None

    def stop(self, by: str) -> None:
        """Ask for the end of the turn; the first who asks counts. Never waits."""
        if self.stopped_by is None:
            self.stopped_by = by
            if self._loop is not None:
                self._loop.stop()

    @property
    def can_steer(self) -> bool:
        """Whether `steer` is worth a try: the turn runs, nobody has stopped it, and the agent takes text into it."""
        return self._loop is not None and self._loop.can_steer

    def steer(self, prompt: list[ContentBlock]) -> Awaitable[bool]:
        """Put text into the running turn; it is written at once, so that texts keep their order.

        Awaiting the result, from any task, says whether the text is part of the turn: then it shares the turn's end.
        If not, and that is all that ever goes wrong, it has not been answered and is to be prompted (`acp.steering`).
        """
        return self._loop.steer(prompt) if self._loop is not None else not_steered()

    def attach(self, loop: _TurnLoop | None) -> None:
        """Name the loop that runs the turn, or that none does any more; `run_turn` does."""
        self._loop = loop


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
    loop = _TurnLoop(connection, session, turn, sink, control, clock)
    control.attach(loop)
    try:
        await loop.run(prompt)
    finally:
        control.attach(None)
        loop.leave()
    return turn.snapshot()


class _TurnLoop:
    """One run of a turn; it is the turn's sink, too, so that a change of phase wakes it."""

    def __init__(
        self,
        connection: PromptConnection,
        session: PromptSession,
        turn: Turn,
        sink: TurnSink,
        control: TurnControl,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._session = session
        self._turn = turn
        self._sink = sink
        self._control = control
        self._clock = clock
        self._wake = anyio.Event()
        self._planned = -1  # the turn's schedule by which the sleeping loop goes

    async def run(self, prompt: list[ContentBlock]) -> None:
        """Send the prompt and return when the turn has ended."""
        self._turn.begin(self._clock())
        self._session.begin_turn(self._turn, self, prompt, clock=self._clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_exit, name="turn exit watch")
            while self._turn.phase is not Phase.ENDED:
                await self._sleep()
                self._pass()
            tasks.cancel_scope.cancel()

    async def _sleep(self) -> None:
        self._planned = self._turn.schedule
        with anyio.move_on_after(self._turn.next_wakeup() - self._clock()):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _pass(self) -> None:
        phase = self._turn.phase
        for action in self._turn.tick(self._clock()):
            self._do(action)
        if self._turn.phase is not phase:
            self._sink.changed()

    def _do(self, action: Action) -> None:
        if action is Action.CANCEL:
            self._session.cancel()
        elif action is Action.KILL:
            self._connection.request_stop()
        elif not self._connection.alive():
            self._turn.died(self._connection.exit(), self._clock())

    async def _watch_exit(self) -> None:
        ended = await self._connection.wait_exited()
        self._turn.died(ended, self._clock())
        self.changed()

    # --- what others call ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel the turn, if there is still something to cancel."""
        if self._turn.cancel(self._clock(), self._control.stopped_by or ""):
            self._session.cancel()
            self.changed()

    @property
    def can_steer(self) -> bool:
        """Whether the turn runs in a session that takes more text into it."""
        return self._turn.phase is Phase.RUNNING and self._session.can_steer

    def steer(self, prompt: list[ContentBlock]) -> Awaitable[bool]:
        """Put text into the turn, if it takes some."""
        return self._session.steer(prompt) if self.can_steer else not_steered()

    def leave(self) -> None:
        """Let go of a turn that has not ended: its caller was cancelled."""
        if self._turn.phase is not Phase.ENDED:
            self._session.cancel()
            self._turn.withdraw(self._clock(), "the bot")

    def changed(self) -> None:
        """Pass a change on; wake the loop only if a deadline may have come nearer: chunks only push them away."""
        if self._turn.schedule != self._planned:
            self._wake.set()
        self._sink.changed()

    def permission(self, request: PermissionRequest) -> None:
        """Pass a permission request on."""
        self._sink.permission(request)
