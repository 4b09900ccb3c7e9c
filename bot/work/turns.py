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
from anyio.abc import TaskGroup

from acp.elicitation import ElicitationRequest
from acp.errors import INTERNAL_ERROR, AcpError, ForkFailed
from acp.open_request import RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption, ToolCallUpdate, text_block
from acp.snapshot import BY_AGENT, Ending, Phase, TurnSnapshot
from acp.turn_runner import run_turn
from bot.model import Lane, Outcome
from bot.reply import cards
from bot.reply.plan import plan_bodies, plan_of, without_plan
from bot.reply.port import Body, without_file
from bot.reply.render import coarse
from bot.work import question_cards
from bot.work.background import ROUNDS, Backgrounds
from bot.work.card_records import CardRecords
from bot.work.changes import WorkspaceChanges
from bot.work.decisions import Decisions, decision_of, decision_on
from bot.work.delivery import Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, end_of_error, end_of_snapshot, interrupted, stopped
from bot.work.handouts import Handouts
from bot.work.late_output import LateOutputs
from bot.work.leftovers import Leftovers
from bot.work.permission_cards import Card, CardState, PermissionRegistry, expire, rejecting, rejection, who_may
from bot.work.permission_rules import Ruling, Verdict
from bot.work.questions import why_ended
from bot.work.queue.entry import Entry, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.rule_keeping import RuleKeeping
from bot.work.rulings import MOST_RULED, Rulings
from bot.work.running_turn import RunningTurn
from bot.work.turn_files import TurnFiles, nothing_left
from bot.work.turn_questions import TurnQuestions
from pool.pool import ConnectionPool, Lease
from pool.slot import ExtraReservation, Reservation
from pool.storage.durable import SessionStore
from pool.store import KeptCard

Claim = Reservation | ExtraReservation

log = structlog.get_logger(__name__)

_NO_TEXT = 2**40
"""An offset behind all text of a turn."""

NOT_TAKEN = "Discord did not take the card"
NOT_WRITTEN = "the state file did not answer, so the agent was not asked"
CONTEXT_LOST = Body("-# The agent no longer knew this conversation: it starts afresh.")


@dataclass(eq=False)
class TurnCards:
    """Shows the permission requests of running turns: opened, kept in step with their request, closed in time (D6).

    Args:
        tasks: owns the timers of the cards.
        timeout: seconds that a card waits for a person.
        decisions: records how each request ended, before that is shown.
        rulings: answers what rules decide.
        rules: offers rules on cards.
        records: writes down which cards threads show.
        approver_in: returns a role whose members may answer in a server, if there is one (C1).

    Attributes:
        closed: the bot stops: what is asked from now on is answered ``cancelled``.
    """

    tasks: TaskGroup
    registry: PermissionRegistry
    scheduler: Scheduler[Claim]
    timeout: float
    decisions: Decisions
    rulings: Rulings
    rules: RuleKeeping
    records: CardRecords
    approver_in: Callable[[int | None], int | None]
    closed: bool = False

    def open(self, running: RunningTurn, request: PermissionRequest, *, two_person: bool = False) -> None:
        """Show ``request`` as a card in the turn's thread and let it wait for people, unless a rule decides it.

        One that nobody could answer, or one too many, is answered ``cancelled`` at once.

        Args:
            two_person: two people have to agree, whatever the rules say (C1).
        """
        # 1. Bounded, since an agent that asks without end must fill neither the thread nor the memory.
        refusal = running.asked_enough
        if self.closed:
            refusal = "the bot stops"
        elif not request.options:
            refusal = "it has no options"
        elif running.ruled.count >= MOST_RULED:
            refusal = f"rules have decided {MOST_RULED} requests of the turn"
        if refusal:
            request.cancel()
            if reason := running.note_refusal(refusal):
                refused = decision_on(request.tool_call, running.first, "cancel", "cancelled", reason=reason)
                self.decisions.record(refused)
            return
        judged = self._judged(running, request)
        if judged.ruling is not Ruling.ASK:
            return

        def not_taken() -> None:
            # Discord refused the card, so nobody will ever see the request.
            if card.request.cancel():
                card.close(CardState.CANCELLED, reason=NOT_TAKEN)

        def show_end(body: Body) -> None:
            running.reply.card(card.token, body, not_taken, shown)
            if card.reason == NOT_TAKEN:
                self.records.over(kept)
                # Without the agent's words: one of them may be what the server's rules don't let through.
                running.reply.card(f"{card.token} not taken", Body(cards.NOT_TAKEN))

        def shown(message_id: int, body: Body) -> None:
            if not body.buttons:
                self.records.over(kept)
            elif card.message_id != message_id:
                card.message_id = message_id
                self.records.shown(kept, message_id)

        def agreed_so_far() -> Body:
            named = [(card.request.options[number], by.name) for number, by in card.agreed.items()]
            return cards.agreed_card(opened, named) if named else opened

        def show_open() -> None:
            # As it is by now: what was agreed to may have been taken back while it was written down.
            if card.state is CardState.OPEN:
                # Held until it is written down: after a kill the next start has to find it (C4).
                running.reply.card(card.token, agreed_so_far(), not_taken, shown, held=True)

        recorded = 0

        def show(card: Card) -> None:
            # Record before show: what people have seen of a decision must be found afterwards (C5).
            nonlocal recorded
            fresh, recorded = card.agreements[recorded:], len(card.agreements)
            for option, by in fresh:
                agreed = decision_on(request.tool_call, first, "person", "agreed", person=by, option=option)
                self.decisions.record(agreed, show_open)
            if card.state is CardState.OPEN:
                if not fresh:
                    show_open()
            else:
                # Of what was taken, the end names all who did.
                body = opened if card.state is CardState.ANSWERED else agreed_so_far()
                end = partial(show_end, cards.closed_card(body, card_end(card)))
                self.decisions.record(decision_of(card, first, running.stopped_by), end)
            # A turn may wait for several answers; it needs its place in the lane again only after the last one.
            if card.state is not CardState.OPEN and not running.waiting_for_people:
                self.scheduler.lanes.take_back(running.entry)

        # 2. From here on it can be answered.
        first, for_owners = running.first, running.first.lane is Lane.BACKGROUND
        role = self.approver_in(first.guild_id)
        card = self.registry.open(
            first.thread,
            request,
            first.author,
            show,
            approvers=role is not None,
            for_owners=for_owners,
            two_person=two_person or judged.two_person,
        )
        # A plan stands above its card, to be read as an answer is, and not once more in it (C7).
        plan = plan_of(request.tool_call)
        call = without_plan(request.tool_call, plan) if plan else request.tool_call
        # The requester is notified; in place of a bot, which reads no card, whoever decides for it.
        opened = open_body(card, call, self.timeout, role if for_owners else None)

        def fileless(why: str) -> None:
            # What was in the file nobody sees: from now on it can only be rejected, whatever a forged press says.
            nonlocal opened
            opened = without_file(opened, why)
            card.offered, card.offer = cards.options_offered(opened), None

        workspace = running.lease.directory if running.lease is not None else ""
        card.offer = self.rules.offer(card, first, workspace, cards.options_offered(opened))
        if card.offer is not None:
            opened = cards.with_rule_button(opened, card.token)
        opened = replace(opened, on_fileless=fileless)
        kept = KeptCard(card.token, running.thread_id, first.message_id)
        # Only what has a button may be chosen, or a forged press could allow what nobody has seen in full.
        card.offered = cards.options_offered(opened)
        request.on_closed = lambda reason: card.close(CardState.CANCELLED, reason=reason)
        running.cards.append(card)
        # 3. Without buttons nobody can answer it: it would wait until its time is up.
        if not opened.buttons:
            request.cancel()
            card.close(CardState.UNSEEN)
            return
        for number, body in enumerate(plan_bodies(plan, self.decisions.redact)):
            # Without it the card asks for what nobody sees.
            running.reply.card(f"{card.token} plan {number}", body, not_taken)
        if card.state is CardState.OPEN:
            show(card)
        if card.state is not CardState.OPEN:
            return  # it could not be shown
        self.records.keep(kept, lambda: running.reply.release(card.token), self.timeout)
        # 4. A turn that waits for a person keeps its agent, but not its place in the lane (Q6).
        self.scheduler.lend(running.entry, anyio.current_time())
        self.tasks.start_soon(expire, card, self.timeout, name=f"card {card.token}")

    def _judged(self, running: RunningTurn, request: PermissionRequest) -> Verdict:
        """Let the rules answer a request; `Ruling.ASK`: people have to (C2, C3)."""

        def tell(line: str) -> None:
            # Lines stand in one message until something else comes: an agent may ask for a hundred small things.
            place = (len(running.cards), running.turn.snapshot(_NO_TEXT).text_length)
            running.ruled.tell(running.reply, line, place)

        def may_take(option: PermissionOption) -> bool:
            card = cards.permission_card("", request.tool_call, request.options, who="", complete=request.complete)
            return request.options.index(option) in cards.options_offered(card)

        workspace = running.lease.directory if running.lease is not None else ""
        return self.rulings.settle(request, running.first, workspace, running.ruled, tell, may_take)


def open_body(card: Card, call: ToolCallUpdate, timeout: float, role: int | None = None) -> Body:
    """Return the card as it asks about ``call``, notifying ``role``."""
    who = who_may(card, f"<@{card.requester.id}>")
    can_reject = rejecting(card.request.options) is not None
    return cards.permission_card(
        card.token,
        call,
        card.request.options,
        who=f"A bot asked, so only {who}" if card.for_owners else who,
        ping=None if card.for_owners else card.requester.id,
        role=role,
        # Discord opens an archived thread before it sends a press, and fails for those who may not open it.
        deadline=f"Without an answer within {coarse(timeout)} it is {'rejected' if can_reject else 'cancelled'}. "
        "In an archived thread: `/permissions answer`.",
        complete=card.request.complete,
        two_person=card.two_person,
    )


def card_end(card: Card) -> str:
    """Return the last line of a card that is over."""
    if card.state is CardState.ANSWERED and card.chosen and card.answered_by:
        return cards.answered_by(card.chosen, *(by.name for by in (card.seconded, card.answered_by) if by))
    if card.state is CardState.UNSEEN:
        return cards.UNSEEN
    return cards.expired(card.chosen) if card.state is CardState.EXPIRED else cards.CANCELLED


@dataclass(eq=False)
class ReplySink:
    """Passes on what a turn reports: changes to the editor, permission requests to the cards."""

    running: RunningTurn
    cards: TurnCards
    questions: TurnQuestions
    deliveries: Deliveries
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
        if turn.decided is Ending.ANSWERED:
            return
        try:
            end = as_decided(self.end_of(replace(turn.snapshot(), ending=turn.decided)), running.entry.cancelled)
            running.over_at = anyio.current_time()
            self.deliveries.announce(running.entry.owed, running.reply, end, running.over_at - running.started)
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
    changes: WorkspaceChanges
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
                    return cut_off(running)
                return await self._prompt(running, lease)
            except ForkFailed:
                raise
            except AcpError as exc:
                return end_of_error(exc)
            finally:
                # In any case, and before the session is given back: no card may stay open for a turn that is over.
                close_cards(running)

    async def bring(self, entry: Entry, lease: Lease) -> list[Body]:
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

    async def _prepare(self, running: RunningTurn, lease: Lease) -> None:
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
            await self.handouts.hide(thread_id)
        if running.looked is not None:
            await running.looked.wait()

    async def _prompt(self, running: RunningTurn, lease: Lease) -> TurnEnd:
        prompt = running.entry.prompt()
        end_of = partial(_end_of, running, [method.name or method.id for method in lease.connection.agent.auth_methods])
        settled = False
        with self.handouts.turn(running.first) as handing_out:
            if begins(lease) and (told := self.handouts.instruction(handing_out)):
                prompt.append(text_block(told))
            try:
                snapshot = await run_turn(
                    lease.connection,
                    lease.session,
                    running.turn,
                    prompt,
                    ReplySink(running, self.cards, self.questions, self.deliveries, end_of),
                    clock=asyncio.get_running_loop().time,
                )
                settled = not snapshot.killed
                self.changes.report(running.thread_id, snapshot)
                lease.served(internal_error=snapshot.error is not None and snapshot.error.code == INTERNAL_ERROR)
            finally:
                if not settled and not running.extra:
                    # The prompt may still be open: nobody gets this session before it was ended, or its process was. A
                    # copy is closed in any case; the others in its process go on.
                    lease.stop()
            # While the session is held: what the next turn writes must not be taken for this one's.
            handout = await self.handouts.collect(handing_out, snapshot)
        return replace(end_of(snapshot), handout=handout)


def begins(lease: Lease) -> bool:
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


def close_cards(running: RunningTurn) -> None:
    """Take the cards of a turn to their end: it is over, or the bot stops and nobody will decide them (T6, R1)."""
    for card in running.cards:
        # Before the card: the agent of a turn that goes on must not wait for an answer that nobody can give any longer.
        card.request.cancel()
        card.close(CardState.CANCELLED, reason=RequestEnd.TURN_ENDED)
    for question in running.questions:
        question.request.cancel()
        question.close(CardState.CANCELLED, question_cards.CANCELLED, reason=RequestEnd.TURN_ENDED)
        # Its reply is final now, whatever the agent says of a page.
        question.show = None


def as_decided(end: TurnEnd, why: Why | None) -> TurnEnd:
    """Return the end of a turn that was cancelled for a reason of the queue's: that decides the outcome."""
    # An agent that answered all the same, or failed, has its own outcome: that is what people see in the thread.
    if why is None or end.outcome is not Outcome.STOPPED:
        return end
    return replace(end, outcome=why.outcome, by=why.by, reason=why.reason or end.reason)
