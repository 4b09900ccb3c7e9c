"""One admitted prompt, from the agent's session to the reply that was handed to the thread's editor.

What is shown and how is `bot.reply`'s business; which prompt runs when is the scheduler's. Nothing here waits for
Discord: a turn ends when its reply was handed over. The mutable state is one `RunningTurn` for each turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
import structlog

from acp.errors import INTERNAL_ERROR, AcpError, ForkFailed
from acp.permission import PermissionRequest
from acp.schema import text_block
from acp.stream import TurnControl, run_turn
from acp.turn import BY_AGENT, Ending, Phase, Turn, TurnSnapshot
from bot.model import Inbound, Outcome
from bot.reply.live import LiveReply
from bot.reply.port import Body
from bot.reply.render import SILENCE, last_line
from bot.work.ending import TurnEnd, end_of_error, end_of_snapshot, interrupted, stopped
from bot.work.permissions import Card, CardState, rejection
from bot.work.queue.entry import Entry
from pool.pool import ConnectionPool, Lease
from pool.slot import ExtraReservation, Reservation
from pool.store import SessionStore

Claim = Reservation | ExtraReservation

log = structlog.get_logger(__name__)

NOT_WRITTEN = "the state file did not answer, so the agent was not asked; please send this again in a while"
CONTEXT_LOST = Body("-# The agent no longer knew this conversation: it starts afresh.")


@dataclass(slots=True, eq=False)
class RunningTurn:
    """A turn that was admitted.

    Attributes:
        starting: around all that comes before the prompt; cancelling it leaves the spawn going (T6).
        hard_timeout: seconds after which the turn ends whatever it waits for (T2).
        stopped_by: who stopped it, in whatever phase.
        abandoned: the thread is gone, so the agent is let go after the turn (D10).
        interrupted: the bot's stop is what stopped it (R1).
        over_at: when the agent ended it otherwise than with an answer; the drain is still to come then.
        extra: it runs on a copy of the thread's session, beside the turn that has the session (Q9).
        looked: set once it is known what belonged to the agent before the prompt; None: that is not looked up.
        silent: nothing was heard of the agent for long while no tool was at work.
        hear: tells what the agent has said on its stderr in this turn, secrets blacked out; None before its session.
        agent: its name in the settings where there are several, else the one that it gives itself, once it did.
    """

    entry: Entry
    reply: LiveReply
    turn: Turn
    started: float
    hard_timeout: float
    control: TurnControl = field(default_factory=TurnControl)
    starting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    prompting: bool = False
    stopped_by: str | None = None
    abandoned: bool = False
    interrupted: bool = False
    over_at: float | None = None
    extra: bool = False
    looked: anyio.Event | None = None
    silent: bool = False
    hear: Callable[[], str] | None = None
    agent: str | None = None
    cards: list[Card] = field(default_factory=list)

    @property
    def thread_id(self) -> int:
        """The thread the turn belongs to."""
        return self.entry.thread_id

    @property
    def first(self) -> Inbound:
        """The message that the reply answers."""
        return self.entry.messages[0].inbound

    def look(self, text_from: int = 0) -> TurnSnapshot:
        """Return the turn as it is now; of one that is silent, with the agent's last words, and remember that."""
        snapshot = self.turn.snapshot(text_from)
        if snapshot.silent_for(anyio.current_time()) < SILENCE:
            return snapshot
        self.silent = self.silent or snapshot.current_tool is None
        return replace(snapshot, last_words=last_line(self.hear())) if self.hear is not None else snapshot

    def interrupt(self, by: str) -> None:
        """Stop the turn since the bot stops; what was decided before that stays as it is."""
        self.interrupted = self.stopped_by is None
        self.stop(by)

    def stop(self, by: str) -> bool:
        """Stop the turn in whatever phase it is; False: it was over already."""
        if self.turn.phase in (Phase.DRAINING, Phase.ENDED):
            return False
        self.stopped_by = self.stopped_by or by
        if self.prompting:
            self.control.stop(by)
        else:
            self.starting.cancel()
        return True


class ReplySink:
    """Passes on what a turn reports: changes to the editor, permission requests to whoever opens the card."""

    def __init__(
        self,
        running: RunningTurn,
        ask: Callable[[RunningTurn, PermissionRequest], None],
        finishing: Callable[[RunningTurn, TurnEnd | None], None],
        end_of: Callable[[TurnSnapshot], TurnEnd],
    ) -> None:
        self._running = running
        self._ask = ask
        self._finishing = finishing
        self._end_of = end_of
        self._answered = False

    def changed(self) -> None:
        """Mark the reply as out of date; called for every update."""
        turn, reply = self._running.turn, self._running.reply
        if self._answered or turn.phase is not Phase.DRAINING:
            reply.touch()
            return
        self._answered = True
        # T3: the text is brought up to date at once when the response arrives; the footer of an answer waits for the
        # drain. Of a turn that ended otherwise, the end is shown at once.
        reply.touch(urgent=True)
        over = turn.decided is not Ending.ANSWERED
        self._finishing(self._running, self._end_of(replace(turn.snapshot(), ending=turn.decided)) if over else None)

    def permission(self, request: PermissionRequest) -> None:
        """Show a card for the request; one that can't be shown is answered ``cancelled``: nobody could decide it."""
        try:
            self._ask(self._running, request)
        except Exception:
            # Called by the reader of the agent's output, which a fault here would end.
            log.exception("permission.failed", thread=self._running.thread_id)
            request.cancel()


class TurnService:
    """Runs admitted prompts.

    Args:
        ask: opens a permission card for a request of a running turn.
        leased: told about the session that a turn was given, before the prompt is sent.
        finishing: told when the agent has answered, with the end if that is no answer: stopping is too late then.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        store: SessionStore,
        *,
        ask: Callable[[RunningTurn, PermissionRequest], None],
        leased: Callable[[RunningTurn, Lease], None],
        finishing: Callable[[RunningTurn, TurnEnd | None], None],
    ) -> None:
        self._pool = pool
        self._store = store
        self._ask = ask
        self._leased = leased
        self._finishing = finishing

    async def run(self, running: RunningTurn, claim: Claim) -> TurnEnd:
        """Take the prompt to its end and say how it ended; what the agent does never raises here.

        Raises:
            ForkFailed: the turn was to run beside another one, and can't; nothing was prompted.
        """
        async with AsyncExitStack() as stack:
            try:
                with running.starting:
                    lease = await stack.enter_async_context(self._session(running, claim))
                    running.agent = running.agent or _name_of(lease)
                    self._leased(running, lease)
                    await self._write_down(running)
                    running.prompting = True
                # Who stops in the very moment in which the write is done cancels nothing any more.
                if not running.prompting or running.stopped_by:
                    return cut_off(running)
                return await self._prompt(running, lease)
            except ForkFailed:
                raise
            except AcpError as exc:
                return end_of_error(exc)
            finally:
                close_cards(running)

    def _session(self, running: RunningTurn, claim: Claim) -> AbstractAsyncContextManager[Lease]:
        if isinstance(claim, ExtraReservation):
            running.extra = True
            return self._pool.extra_session(claim)
        return self._pool.session(running.thread_id, claim)

    async def _write_down(self, running: RunningTurn) -> None:
        """Commit that the prompt is sent before it is: after a crash, what may have had side effects is not repeated.

        A store that hangs keeps neither a stop waiting nor the hard timeout. What it writes later does no harm: the
        end of the prompt is written after it.
        """
        running.starting.deadline = anyio.current_time() + running.hard_timeout
        running.entry.prompted = True  # what is written down now is what will be asked
        first, *others = (message.id for message in running.entry.messages)
        await self._store.started(first, others)
        if running.looked is not None:
            await running.looked.wait()

    async def _prompt(self, running: RunningTurn, lease: Lease) -> TurnEnd:
        text = running.entry.prompt_text()
        end_of = partial(_end_of, running, [method.name or method.id for method in lease.agent.auth_methods])
        settled = False
        try:
            snapshot = await run_turn(
                lease.session,
                running.turn,
                [text_block(text)],
                ReplySink(running, self._ask, self._finishing, end_of),
                control=running.control,
                clock=asyncio.get_running_loop().time,
            )
            settled = not snapshot.killed
            lease.served(internal_error=snapshot.error is not None and snapshot.error.code == INTERNAL_ERROR)
        finally:
            if not settled and not running.extra:
                # A copy is closed in any case; the others in its process go on.
                # The prompt may still be open: nobody gets this session before it was ended, or its process was.
                lease.stop()
        return end_of(snapshot)


def _end_of(running: RunningTurn, methods: Sequence[str], snapshot: TurnSnapshot) -> TurnEnd:
    """Return the end of a turn; ``methods`` are the names of its agent's ways to log in."""
    if running.interrupted and snapshot.ending is Ending.STOPPED:
        return interrupted(snapshot)
    end = end_of_snapshot(snapshot, methods)
    by_itself = end.outcome is Outcome.STOPPED and snapshot.cancelled_by in (None, BY_AGENT)
    return replace(end, rejection=rejection(running.cards)) if by_itself else end


def _name_of(lease: Lease) -> str | None:
    info = lease.agent.agent_info
    return info.name if info is not None else None


def cut_off(running: RunningTurn) -> TurnEnd:
    """Return the end of a turn that was stopped, or whose time was up, before its prompt was sent."""
    if running.stopped_by is None:
        return TurnEnd(Outcome.TIMED_OUT, reason=NOT_WRITTEN)
    return interrupted() if running.interrupted else stopped(running.stopped_by)


def cancel_cards(running: RunningTurn) -> None:
    """Answer the open permission requests of a turn ``cancelled``: nobody will be there to decide them (R1)."""
    for card in running.cards:
        if card.request.cancel():
            card.close(CardState.CANCELLED)


def close_cards(running: RunningTurn) -> None:
    """Take the cards of a turn that is over to their end; the connection has answered their requests (T6)."""
    for card in running.cards:
        card.close(CardState.CANCELLED)
