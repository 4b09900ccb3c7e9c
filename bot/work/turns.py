"""One admitted prompt, from the agent's session to the reply that was handed to the thread's editor.

`bot.reply` decides what is shown and how, the scheduler which prompt runs when. Nothing here waits for Discord: a turn
ends when its reply was handed over. The mutable state is one `RunningTurn` for each turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import anyio
import structlog

from acp.elicitation import ElicitationRequest
from acp.errors import INTERNAL_ERROR, AcpError, ForkFailed
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.snapshot import BY_AGENT, Ending, Phase, TurnSnapshot
from acp.turn_runner import run_turn
from bot.model import Outcome
from bot.reply.port import Body
from bot.work.background import ROUNDS, Backgrounds
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, end_of_error, end_of_snapshot, interrupted, stopped
from bot.work.files.handouts import Handouts
from bot.work.files.remote_files import hide_there
from bot.work.files.turn_files import TurnFiles, nothing_left
from bot.work.late_output import LateOutputs
from bot.work.leftovers import Leftovers
from bot.work.options.giving import OptionGiver
from bot.work.permissions.cards import rejection
from bot.work.permissions.turn_cards import TurnCards, close_cards
from bot.work.projects.branches import Branches
from bot.work.projects.service import Projects
from bot.work.questions.registry import why_ended
from bot.work.questions.turn_questions import TurnQuestions
from bot.work.queue.entry import Entry, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import Claim, RunningTurn
from bot.work.transcripts.handoffs import Handoffs, History, was_unread
from bot.work.transcripts.record import FinishedTurn
from bot.work.workspace.changes import WorkspaceChanges
from pool.pool import ConnectionPool, SessionLease
from pool.slot import ExtraReservation
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

NOT_WRITTEN = "the state file did not answer, so the agent was not asked"
CONTEXT_LOST = Body("-# The agent no longer knew this conversation: it starts afresh.")


@dataclass(eq=False)
class ReplySink:
    """Passes on what a turn reports: changes to the editor, permission requests to the cards."""

    running: RunningTurn
    cards: TurnCards
    questions: TurnQuestions
    deliveries: Deliveries
    branches: Branches
    end_of: Callable[[TurnSnapshot], TurnEnd]
    answered: bool = False

    def changed(self) -> None:
        """Mark the reply as out of date; called for every update."""
        running, turn = self.running, self.running.turn
        if self.answered or turn.phase is not Phase.DRAINING:
            running.reply.touch()
            return
        self.answered = True
        # T3: the text is brought up to date at once when the response arrives; the footer of an answer waits for the
        # drain. Of a turn that ended otherwise, the end is shown at once: the drain only holds the next prompt.
        running.reply.touch(urgent=True)
        # What comes now is next, and stopping is too late (T3, T6).
        running.entry.finishing = True
        # Beside the drain: git has its time, and nobody waits for it (W3).
        self.branches.begin(running)
        if turn.decided is Ending.ANSWERED:
            return
        try:
            end = as_decided(self.end_of(replace(turn.snapshot(), ending=turn.decided)), running.entry.cancelled)
            running.over_at = anyio.current_time()
            over = FinishedTurn.of(running.entry, end, running.over_at - running.started, running.agent)
            self.deliveries.announce(over, running.reply)
        except Exception:
            # Called by the reader of the agent's output, which a fault here would end.
            log.exception("decision.failed")

    def permission(self, request: PermissionRequest) -> None:
        """Show a card for the request; one that can't be shown is answered ``cancelled``: nobody could decide it."""
        try:
            self.cards.open(self.running, request)
        except Exception:
            # Called by the reader of the agent's output, which a fault here would end.
            log.exception("permission.failed", thread=self.running.thread_id)
            request.cancel()

    def question(self, request: ElicitationRequest) -> None:
        """Show a card for the question; one that can't be shown is answered ``cancel``: nobody could answer it."""
        try:
            self.questions.open(self.running, request)
        except Exception:
            # As above.
            log.exception("question.failed", thread=self.running.thread_id)
            request.cancel()


@dataclass(eq=False)
class TurnService:
    """Runs admitted prompts."""

    pool: ConnectionPool
    store: SessionStore
    scheduler: Scheduler[Claim]
    editors: Editors
    deliveries: Deliveries
    cards: TurnCards
    questions: TurnQuestions
    leftovers: Leftovers
    late: LateOutputs
    backgrounds: Backgrounds
    files: TurnFiles
    handouts: Handouts
    handoffs: Handoffs
    changes: WorkspaceChanges
    options: OptionGiver
    projects: Projects
    branches: Branches
    redact: Callable[[str], str]

    async def run(self, running: RunningTurn, claim: Claim) -> TurnEnd:
        """Take the prompt to its end and say how it ended; what the agent does never raises here.

        Raises:
            ForkFailed: the turn was to run beside another one, and can't; nothing was prompted.
        """
        async with AsyncExitStack() as stack:
            try:
                # From here to the prompt a stop cancels this scope, and leaves the agent starting for whoever is next.
                with running.starting:
                    look = self.changes.look(running.thread_id)
                    if isinstance(claim, ExtraReservation):
                        lease = await stack.enter_async_context(self.pool.extra_session(claim))
                    else:
                        lease = await stack.enter_async_context(self.pool.session(running.thread_id, claim))
                    running.lease = lease
                    await self.changes.begin(running.thread_id, lease, look)
                    # Before the last look at what is to be asked: a message that comes meanwhile is still in it.
                    await self.options.give(running, lease)
                    history = await self._history(running, lease)
                    # Now, not at acceptance: no slow file changes who is next. A stop cuts it off, too (F3).
                    notices = await self.bring(running.entry, lease)
                    if reason := nothing_left(running.entry):
                        return TurnEnd(Outcome.FAILED, reason=reason)
                    for notice in notices:
                        self.editors.of(running.thread_id).say(notice)
                    await self._prepare(running, lease)
                    # From here on a stop goes to the session.
                    running.session = lease.session
                # Who stops in the very moment in which the write is done no longer cancels anything. No await between
                # this look and the prompt: a stop in between would reach neither.
                if running.session is None or running.stopped_by:
                    self._end_preparation(running)
                    return cut_off(running)
                return await self._prompt(running, lease, history)
            except ForkFailed:
                raise
            except AcpError as exc:
                return end_of_error(exc)
            finally:
                # In any case, and before the session is given back: no card may stay open for a turn that is over.
                close_cards(running)

    def _end_preparation(self, running: RunningTurn) -> None:
        """End what a stopped turn's agent waited for, if that is not its own start: a set-up may go on for long."""
        by_people = running.stopped_by is not None and not running.interrupted
        if not by_people or running.lease is not None or not self.projects.doing(running.thread_id):
            return
        # What waits is going to need it: it would only be begun anew.
        if not len(self.scheduler.queue(running.thread_id).line):
            self.pool.evict(running.thread_id, displaced=True)

    async def bring(self, entry: Entry, lease: SessionLease) -> list[Body]:
        """Get for an entry what it refers to and its files; return what its thread is to read about them.

        There is no await after the last look at the entry: what is prompted next is all that was got.
        """
        notices: list[Body] = []
        for _ in range(ROUNDS):
            await self.backgrounds.look_up(entry)
            # Last: a file that is not fetched would be missing in silence.
            notices += await self.files.bring(entry, lease)
            # Until the prompt is settled, messages may join the entry, change and go.
            if self.backgrounds.settled(entry):
                break
        return [*self.backgrounds.tell(entry), *notices]

    async def _history(self, running: RunningTurn, lease: SessionLease) -> History | None:
        """Return what an agent that has taken over is to read first; say so where that can't be had."""
        if running.extra:
            return None
        takes = lease.connection.agent.agent_capabilities.prompt_capabilities.embedded_context
        history = await self.handoffs.history(running.thread_id, takes_resources=takes)
        if isinstance(history, Body):
            self.editors.of(running.thread_id).say(history)
            return None
        return history

    async def _prepare(self, running: RunningTurn, lease: SessionLease) -> None:
        """Connect a turn with its session, and commit that its prompt is sent before it is.

        A store that hangs keeps neither a stop waiting nor the hard timeout. What it writes later does no harm: the
        end of the prompt is written after it.
        """
        thread_id, said, info = running.thread_id, lease.listen(), lease.connection.agent.agent_info
        running.agent = running.agent or (info.name if info is not None else None)
        running.hear = lambda: self.redact(said())
        # A copy, or one of several in its process, could not tell its own leftovers from a neighbour's.
        if lease.alone and not running.extra:
            running.looked = self.leftovers.watch(running.first, lease)
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, _):
            queue.memory.can_steer = lease.session.can_steer
        if lease.lost:
            self.editors.of(thread_id).say(CONTEXT_LOST)
        self.late.attend(thread_id, lease.session)
        running.starting.deadline = anyio.current_time() + running.hard_timeout
        running.entry.prompted = True  # what is written down now is what will be asked
        first, *others = (message.message_id for message in running.entry.messages)
        # Started before prompt: after a crash, what may have had side effects is not repeated.
        await self.store.started(first, others)
        if begins(lease):
            await (self.handouts.hide(thread_id) if lease.remote is None else hide_there(lease.remote))
        if running.looked is not None:
            await running.looked.wait()

    async def _prompt(self, running: RunningTurn, lease: SessionLease, history: History | None) -> TurnEnd:
        prompt = running.entry.prompt()
        # An agent takes a command of its own only at the very beginning: what it is to read comes with the next prompt.
        history = None if running.entry.runs_command else history
        if history is not None:
            prompt.insert(0, history.block)
            self.handoffs.forget(running.thread_id)
            self.editors.of(running.thread_id).say(history.told)
        end_of = partial(_end_of, running, [method.name or method.id for method in lease.connection.agent.auth_methods])
        settled, unread = False, True
        with self.handouts.turn(running.first) as handing_out:
            if to_be_briefed(lease, running.entry):
                lease.session.briefed = True
                if told := self.handouts.instruction(handing_out):
                    prompt.append(text_block(told))
            try:
                snapshot = await run_turn(
                    lease.connection,
                    lease.session,
                    running.turn,
                    prompt,
                    ReplySink(running, self.cards, self.questions, self.deliveries, self.branches, end_of),
                    clock=asyncio.get_running_loop().time,
                )
                settled, unread = not snapshot.killed, was_unread(snapshot)
                self.changes.report(running.thread_id, snapshot)
                lease.served(internal_error=snapshot.error is not None and snapshot.error.code == INTERNAL_ERROR)
            finally:
                if history is not None and unread:
                    self.handoffs.repeat(running.thread_id, history)
                if not settled and not running.extra:
                    # The prompt may still be open: nobody gets this session before it was ended, or its process was. A
                    # copy is closed in any case; the others in its process go on.
                    lease.stop()
            # While the session is held: what the next turn writes must not be taken for this one's.
            if lease.remote is not None:
                await self.files.fetch_handouts(handing_out, lease.remote, self.handouts.limit_of(handing_out))
            handout = await self.handouts.collect(handing_out, snapshot)
        return replace(end_of(snapshot), handout=handout)


def to_be_briefed(lease: SessionLease, entry: Entry) -> bool:
    """Return whether the agent is to be told with this prompt what it is to know of Weft: once in a session."""
    # A command of the agent's takes all text for its input: then it is told with the next prompt (K3).
    return lease.how != "forked" and not lease.session.briefed and not entry.runs_command


def begins(lease: SessionLease) -> bool:
    """Return whether a session gets its first prompt since it was opened; a copy knows what the original was told."""
    return lease.how not in ("live", "forked")


def _end_of(running: RunningTurn, methods: Sequence[str], snapshot: TurnSnapshot) -> TurnEnd:
    """Return the end of a turn; ``methods`` are the names of its agent's ways to log in."""
    # Only a stopped one: an agent that still answers within the bound has answered, restart or not (R1).
    if running.interrupted and snapshot.ending is Ending.STOPPED:
        return interrupted(snapshot)
    end = end_of_snapshot(snapshot, methods)
    by_itself = end.outcome is Outcome.STOPPED and snapshot.cancelled_by in (None, BY_AGENT)
    why = rejection(running.cards) or why_ended(running.questions)
    return replace(end, rejection=why) if by_itself else end


def cut_off(running: RunningTurn) -> TurnEnd:
    """Return the end of a turn that was stopped, or whose time was up, before its prompt was sent."""
    if running.stopped_by is None:
        return TurnEnd(Outcome.TIMED_OUT, reason=NOT_WRITTEN)
    return interrupted() if running.interrupted else stopped(running.stopped_by)


def as_decided(end: TurnEnd, why: Why | None) -> TurnEnd:
    """Return the end of a turn that was cancelled for a reason of the queue's: that decides the outcome."""
    # An agent that answered all the same, or failed, has its own outcome: that is what people see in the thread.
    if why is None or end.outcome is not Outcome.STOPPED:
        return end
    return replace(end, outcome=why.outcome, by=why.by, reason=why.reason or end.reason)
