"""Runs a prompt turn: sends the prompt, sleeps until something is due, and does it.

The session feeds the turn in wire order and hands it the response; `acp.turn` and `acp.turn_deadlines` decide. Nothing
here waits for whoever shows the turn. The mutable state is the event that wakes the loop.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from acp.connection import AgentConnection
from acp.elicitation import ElicitationRequest
from acp.permission_request import PermissionRequest
from acp.schema import ContentBlock
from acp.session import AgentSession, TurnSink
from acp.snapshot import Phase, TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import Action


async def run_turn(
    connection: AgentConnection,
    session: AgentSession,
    turn: Turn,
    prompt: list[ContentBlock],
    sink: TurnSink,
    *,
    clock: Callable[[], float] = anyio.current_time,
) -> TurnSnapshot:
    """Send a prompt and see the turn to its end, whatever the agent does; return what it looks like then.

    A turn that was withdrawn is not prompted. ``clock`` is the event loop's; one that need not look the loop up, as the
    default does, saves a tenth of the cost of a chunk. If the caller is cancelled, the agent is sent a cancel, and the
    turn ends as stopped. Then, and after a kill, the prompt may still be open: the session must not be used again.
    """
    if turn.decided is not None:
        return turn.snapshot()
    alarm = _Alarm(turn, sink)

    async def watch_exit() -> None:
        # Silence is probed for only now and then; an exit is known at once, with the last words before it.
        turn.died(await connection.wait_exited(), clock())
        alarm.changed()

    try:
        # No await before this: a stop that came between would find no turn in the session, and not be sent.
        session.begin_turn(turn, alarm, prompt, clock=clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_exit, name="turn exit watch")
            while turn.phase is not Phase.ENDED:
                # 1. Sleep until something is due. The plan is noted first: what changes it from here on wakes us.
                alarm.planned = turn.schedule
                with anyio.move_on_after(turn.next_wakeup() - clock()):
                    await alarm.wake.wait()
                alarm.wake = anyio.Event()
                # 2. Do it, without an await: the turn must not move on between what it decides and what is done.
                phase = turn.phase
                for action in turn.tick(clock()):
                    if action is Action.CANCEL:
                        session.cancel()
                    elif action is Action.KILL:
                        connection.request_stop()
                    elif not connection.alive():
                        turn.died(connection.exit(), clock())
                if turn.phase is not phase:
                    sink.changed()
            tasks.cancel_scope.cancel()
    finally:
        if turn.phase is not Phase.ENDED:  # our caller was cancelled; nothing may wait here
            session.cancel()
            turn.withdraw(clock(), "the bot")
    return turn.snapshot()


class _Alarm:
    """The turn's sink while it runs: passes everything on, and wakes the loop where that may have to act sooner.

    Attributes:
        planned: the turn's schedule by which the sleeping loop goes.
    """

    def __init__(self, turn: Turn, sink: TurnSink) -> None:
        self.wake = anyio.Event()
        self.planned = -1
        self._turn = turn
        self._sink = sink

    def changed(self) -> None:
        # Chunks only push deadlines away: waking the loop for each of them would double their cost.
        if self._turn.schedule != self.planned:
            self.wake.set()
        self._sink.changed()

    def permission(self, request: PermissionRequest) -> None:
        self._sink.permission(request)

    def question(self, request: ElicitationRequest) -> None:
        self._sink.question(request)
