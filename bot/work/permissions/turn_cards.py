"""Shows the permission requests of a running turn as cards, and closes them in time (D6).

`bot.work.permissions.rules` may answer first, `bot.work.permissions.cards` says who may press and what a press does,
`bot.reply.cards` draws. The mutable state is whether the bot stops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from anyio.abc import TaskGroup

from acp.open_request import RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption, ToolCallUpdate
from bot.reply import cards
from bot.reply.plan import plan_bodies, plan_of, without_plan
from bot.reply.port import Body, without_file
from bot.reply.render import duration
from bot.work.attention.notifications import Notifications
from bot.work.permissions.card_records import CardRecords
from bot.work.permissions.cards import Card, CardState, PermissionRegistry, expire, rejecting, who_may
from bot.work.permissions.decisions import Decisions, decision_of, decision_on
from bot.work.permissions.rule_keeping import RuleKeeping
from bot.work.permissions.rules import Ruling, Verdict
from bot.work.permissions.rulings import MOST_RULED, Rulings
from bot.work.permissions.shown_card import NOT_TAKEN, ShownCard
from bot.work.questions import cards as question_cards
from bot.work.running_turn import RunningTurn
from bot.work.turn_events import WaitsForPeople

log = structlog.get_logger(__name__)

_NO_TEXT = 2**40
"""An offset behind all text of a turn."""


@dataclass(eq=False)
class ShownRequest(ShownCard):
    """A permission request as its thread shows it: what people decide is recorded, then shown.

    Attributes:
        card: who may decide it, and what was decided so far.
        opened: the card as it asks.
    """

    request: PermissionRequest
    decisions: Decisions
    waits: WaitsForPeople
    card: Card = field(init=False)
    opened: Body = field(init=False)
    _recorded: int = field(init=False, default=0)

    @property
    def asked(self) -> Card:
        return self.card

    def bring_up_to_date(self) -> None:
        """Record what was decided since the last call, and show it then."""
        # Record before show: what people have seen of a decision must be found afterwards (C5).
        card, first = self.card, self.running.first
        fresh, self._recorded = card.agreements[self._recorded :], len(card.agreements)
        for option, by in fresh:
            agreed = decision_on(self.request.tool_call, first, "person", "agreed", person=by, option=option)
            self.decisions.record(agreed, self._show_open)
        if card.state is CardState.OPEN:
            if not fresh:
                self._show_open()
            return
        # Of what was taken, the end names all who did.
        body = self.opened if card.state is CardState.ANSWERED else self._agreed_so_far()
        end = partial(self.post_end, cards.closed_card(body, card_end(card)), cards.NOT_TAKEN)
        self.decisions.record(decision_of(card, first, self.running.stopped_by), end)
        self.waits.settled(self.running)

    def not_taken(self) -> None:
        if self.request.cancel():
            self.card.close(CardState.CANCELLED, reason=NOT_TAKEN)

    def lose_file(self, why: str) -> None:
        """Called before the card is posted without its file."""
        # What was in it nobody sees: from now on it can only be rejected, whatever a forged press says.
        self.opened = without_file(self.opened, why)
        self.card.offered, self.card.offer = cards.options_offered(self.opened), None

    def _show_open(self) -> None:
        # As it is by now: what was agreed to may have been taken back while it was written down.
        if self.card.state is CardState.OPEN:
            self.post(self._agreed_so_far())

    def _agreed_so_far(self) -> Body:
        named = [(self.request.options[number], by.name) for number, by in self.card.agreed.items()]
        return cards.agreed_card(self.opened, named) if named else self.opened


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
    waits: WaitsForPeople
    timeout: float
    decisions: Decisions
    rulings: Rulings
    rules: RuleKeeping
    records: CardRecords
    notifications: Notifications
    approver_in: Callable[[int | None], int | None]
    closed: bool = False

    def open(self, running: RunningTurn, request: PermissionRequest, *, two_person: bool = False) -> None:
        """Show ``request`` as a card in the turn's thread and let it wait for people, unless a rule decides it.

        One that nobody could answer, or one too many, is answered ``cancelled`` at once.

        Args:
            two_person: two people have to agree, whatever the rules say (C1).
        """
        # 1. Some are answered without a person.
        if self._refuses(running, request):
            return
        judged = self._judged(running, request)
        if judged.ruling is not Ruling.ASK:
            return

        # 2. From here on it can be answered.
        first, for_owners = running.first, running.first.automatic
        role = self.approver_in(first.guild_id)
        shown = ShownRequest(running, self.records, request, self.decisions, self.waits)
        card = shown.card = self.registry.open(
            first.thread,
            request,
            first.author,
            lambda _card: shown.bring_up_to_date(),
            approvers=role is not None,
            for_owners=for_owners,
            two_person=two_person or judged.two_person,
        )
        # A plan stands above its card, to be read as an answer is, and not once more in it (C7).
        plan = plan_of(request.tool_call)
        self._draw(shown, without_plan(request.tool_call, plan) if plan else request.tool_call, role)
        # From here on the agent's own cancel closes the card.
        request.on_closed = lambda reason: card.close(CardState.CANCELLED, reason=reason)
        running.cards.append(card)
        # 3. Without buttons nobody can answer it: it would wait until its time is up.
        if not shown.opened.buttons:
            request.cancel()
            card.close(CardState.UNSEEN)
            return
        for number, body in enumerate(plan_bodies(plan, self.decisions.redact)):
            # Without it the card asks for what nobody sees.
            running.reply.card(f"{card.token} plan {number}", body, shown.not_taken)
        if card.state is CardState.OPEN:
            shown.bring_up_to_date()
        if card.state is not CardState.OPEN:
            return  # it could not be shown
        self.records.keep(shown.kept, lambda: running.reply.release(card.token), self.timeout)
        # 4. From here on the turn waits for people.
        self.waits.begun(running)
        self.tasks.start_soon(expire, card, self.timeout, name=f"card {card.token}")

    def _draw(self, shown: ShownRequest, call: ToolCallUpdate, role: int | None) -> None:
        """Make the body of a card that asks about ``call``, and say what may be chosen on it."""
        card, running = shown.card, shown.running
        # The requester is notified, as they want it; in place of a bot, which reads no card, whoever decides for it.
        workspace = running.lease.directory if running.lease is not None else ""
        opened = open_body(card, call, self.timeout, *self.notifications.asked(running, role), workspace=workspace)
        card.offer = self.rules.offer(card, running.first, workspace, cards.options_offered(opened))
        if card.offer is not None:
            opened = cards.with_rule_button(opened, card.token)
        shown.opened = replace(opened, on_fileless=shown.lose_file)
        # Only what has a button may be chosen, or a forged press could allow what nobody has seen in full.
        card.offered = cards.options_offered(shown.opened)

    def _refuses(self, running: RunningTurn, request: PermissionRequest) -> bool:
        """Cancel a request that is one too many, or that nobody could answer; return whether it was."""
        # Bounded, since an agent that asks without end must fill neither the thread nor the memory.
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
        return bool(refusal)

    def _judged(self, running: RunningTurn, request: PermissionRequest) -> Verdict:
        """Let the rules answer a request; `Ruling.ASK`: people have to (C2, C3)."""

        def tell(line: str) -> None:
            # Lines stand in one message until something else comes: an agent may ask for a hundred small things.
            place = (len(running.cards), running.turn.snapshot(_NO_TEXT).text_length)
            running.ruled.tell(running.reply, line, place)

        def may_take(option: PermissionOption) -> bool:
            card = cards.permission_card(
                "", request.tool_call, request.options, who="", complete=request.complete, workspace=workspace
            )
            return request.options.index(option) in cards.options_offered(card)

        workspace = running.lease.directory if running.lease is not None else ""
        return self.rulings.settle(request, running.first, workspace, running.ruled, tell, may_take)


def open_body(
    card: Card,
    call: ToolCallUpdate,
    timeout: float,
    ping: int | None = None,
    role: int | None = None,
    *,
    workspace: str = "",
) -> Body:
    """Return the card as it asks about ``call``, notifying ``ping`` or ``role``; ``workspace``: where it is asked."""
    who = who_may(card, f"<@{card.requester.id}>")
    can_reject = rejecting(card.request.options) is not None
    return cards.permission_card(
        card.token,
        call,
        card.request.options,
        who=f"A bot asked, so only {who}" if card.for_owners else who,
        ping=ping,
        role=role,
        # Discord opens an archived thread before it sends a press, and fails for those who may not open it.
        deadline=f"Without an answer within {duration(timeout)} it is {'rejected' if can_reject else 'cancelled'}."
        + ("" if card.place.guild_id is None else " If the thread is archived: `/permissions answer`."),
        complete=card.request.complete,
        two_person=card.two_person,
        workspace=workspace,
    )


def card_end(card: Card) -> str:
    """Return the last line of a card that is over."""
    if card.state is CardState.ANSWERED and card.chosen and card.answered_by:
        return cards.answered_by(card.chosen, *(by.name for by in (card.seconded, card.answered_by) if by))
    if card.state is CardState.UNSEEN:
        return cards.UNSEEN
    return cards.expired(card.chosen) if card.state is CardState.EXPIRED else cards.CANCELLED


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
