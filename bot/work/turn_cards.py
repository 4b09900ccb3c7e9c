"""Permission cards of running turns: opened in the thread, kept in step with their request, closed in time (D6)."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from anyio.abc import TaskGroup

from acp.permission import PermissionRequest
from bot.model import Lane
from bot.reply import cards
from bot.reply.port import Body
from bot.reply.render import coarse
from bot.work.permissions import Card, CardState, PermissionRegistry, expire, rejecting
from bot.work.turns import RunningTurn

log = structlog.get_logger(__name__)

MOST_OPEN = 20
"""Cards of one turn that people may answer at the same time."""

MOST_CARDS = 200
"""Cards of one turn in all: an agent that asks without end must not fill thread and memory."""


class TurnCards:
    """Shows permission requests.

    Args:
        tasks: owns the timers of the cards.
        timeout: seconds that a card waits for a person.

        waits, goes_on: told when a turn has begun to wait for a person, and when it waits for nobody any more.

    Attributes:
        closed: the bot stops: what is asked from now on is answered ``cancelled``.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        desk: PermissionRegistry,
        timeout: float,
        *,
        waits: Callable[[RunningTurn], None],
        goes_on: Callable[[RunningTurn], None],
    ) -> None:
        self._tasks = tasks
        self._desk = desk
        self._waits = waits
        self._goes_on = goes_on
        self.timeout = timeout
        self.closed = False

    def __call__(self, running: RunningTurn, request: PermissionRequest) -> None:
        """Show ``request`` as a card in the turn's thread and let it wait for the requester.

        One that nobody could answer, or one too many, is answered ``cancelled`` at once.
        """
        refusal = "the bot stops" if self.closed else _refusal(running.cards, request)
        if refusal:
            log.warning("permission.refused", thread=running.thread_id, reason=refusal)
            request.cancel()
            return
        first = running.first

        def show(card: Card) -> None:
            body = opened if card.state is CardState.OPEN else cards.closed_card(opened, last_line(card))
            running.reply.card(card.token, body, lambda: _not_taken(running, card))
            if card.state is not CardState.OPEN and not _is_waiting(running):
                self._goes_on(running)

        card = self._desk.open(running.thread_id, request, first.author, show, for_owners=first.lane is Lane.BACKGROUND)
        opened = open_body(card, self.timeout)
        request.on_closed = lambda _reason: card.close(CardState.CANCELLED)
        running.cards.append(card)
        if not opened.buttons:
            request.cancel()
            card.close(CardState.UNSEEN)
            return
        show(card)
        self._waits(running)
        self._tasks.start_soon(expire, card, self.timeout, name=f"card {card.token}")


def _not_taken(running: RunningTurn, card: Card) -> None:
    """Answer a request whose card Discord refused: nobody will ever see it."""
    if card.request.cancel():
        log.warning("permission.refused", thread=running.thread_id, reason="Discord did not take the card")
        card.close(CardState.CANCELLED)
        # Without a word of the agent's: one of them may be what the server's rules don't let through.
        running.reply.card(f"{card.token} not taken", Body(cards.NOT_TAKEN))


def _is_waiting(running: RunningTurn) -> bool:
    return any(card.state is CardState.OPEN for card in running.cards)


def _refusal(cards_so_far: list[Card], request: PermissionRequest) -> str:
    """Return why the request gets no card; empty if it gets one."""
    if not request.options:
        return "it has no options"
    if len(cards_so_far) >= MOST_CARDS:
        return f"the turn has asked {MOST_CARDS} times"
    still_open = sum(card.state is CardState.OPEN for card in cards_so_far)
    return f"{still_open} requests of the turn are open" if still_open >= MOST_OPEN else ""


def open_body(card: Card, timeout: float) -> Body:
    """Return the card as it asks."""
    can_reject = rejecting(card.request.options) is not None
    return cards.permission_card(
        card.token,
        card.request.tool_call,
        card.request.options,
        who="A bot asked, so only whoever runs me" if card.for_owners else f"<@{card.requester.id}>",
        ping=None if card.for_owners else card.requester.id,
        deadline=f"Without an answer within {coarse(timeout)} it is {'rejected' if can_reject else 'cancelled'}.",
        complete=card.request.complete,
    )


def last_line(card: Card) -> str:
    """Return the last line of a card that is over."""
    if card.state is CardState.ANSWERED and card.chosen and card.answered_by:
        return cards.answered_by(card.chosen, card.answered_by.name)
    if card.state is CardState.UNSEEN:
        return cards.UNSEEN
    return cards.expired(card.chosen) if card.state is CardState.EXPIRED else cards.CANCELLED
