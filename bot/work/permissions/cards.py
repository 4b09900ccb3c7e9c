"""Permission requests that wait for a person: who may answer, what an answer does, what silence means (D6).

Nothing is approved by default. The first of click, timeout and cancel wins; whatever comes later gets that for an
answer. `bot.reply.cards` draws the cards. The mutable state is the map of known requests; ended ones are kept for a
while, so that a late click gets a true answer.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

import anyio
import structlog

from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption, PermissionParams, ToolCallUpdate
from bot.model import Actor, ThreadPlace, posted_at
from bot.reply.sanitise import inline_code
from bot.work.permissions.kept_rules import Offer
from bot.work.ports import Answer

_REMEMBERED = 1000
_TOKEN_BYTES = 9

EXPIRED = "This request has expired."
AGREED_ALREADY = "You have agreed already. Somebody else has to agree, too."
CANCELLED = "This request was cancelled."
RESTARTED = (
    "This ended when Weft restarted. *Continue* below runs the turn again; if there is no such button, write again."
)

log = structlog.get_logger(__name__)


class CardState(Enum):
    """What a card shows."""

    OPEN = auto()
    ANSWERED = auto()
    EXPIRED = auto()
    CANCELLED = auto()
    UNSEEN = auto()
    """Cancelled at once: it can't be shown in full, and none of its options says no."""


@dataclass(slots=True, eq=False)
class Card:
    """A permission request in a thread.

    Attributes:
        registry: remembers it once it is over.
        show: called with the card each time that what it shows has changed; None: nobody looks at it.
        offered: the numbers of the options that have a button; what nobody can see whole can't be allowed.
        approvers: people with an approver role may answer, too, if there are any (C1).
        for_owners: a bot asked, which can press nothing: those who own the application may answer in its place.
        two_person: an option that does not reject is taken once two people have agreed to it (C1).
        message_id: the message that shows it; 0 before there is one.
        since: when it was asked, by the monotonic clock.
        agreed: who was the first to agree to such an option, by its number.
        agreements: all that were given, in order, even if they were taken back.
        chosen: the option that was taken, by a person or, when the time was up, in the person's place.
        reason: why it ended without an answer, where its state does not say so.
        seconded: who agreed to it before ``answered_by`` did.
        offer: the rule that would allow this from now on; None: none is offered.
    """

    token: str
    place: ThreadPlace
    request: PermissionRequest
    requester: Actor
    registry: PermissionRegistry
    show: Callable[[Card], None] | None
    offered: frozenset[int]
    approvers: bool = False
    for_owners: bool = False
    two_person: bool = False
    message_id: int = 0
    since: float = field(default_factory=time.monotonic)
    agreed: dict[int, Actor] = field(default_factory=dict)
    agreements: list[tuple[PermissionOption, Actor]] = field(default_factory=list)
    state: CardState = CardState.OPEN
    chosen: PermissionOption | None = None
    answered_by: Actor | None = None
    reason: str | None = None
    seconded: Actor | None = None
    offer: Offer | None = None
    closed: anyio.Event = field(default_factory=anyio.Event)

    def close(
        self,
        state: CardState,
        chosen: PermissionOption | None = None,
        by: Actor | None = None,
        *,
        reason: str | None = None,
    ) -> None:
        """Take the card to its end; only the first call counts."""
        # Answer, timeout and cancel race for it; the state is set before anything is shown, so the loser sees it.
        if self.state is CardState.OPEN:
            self.state, self.chosen, self.answered_by, self.reason = state, chosen, by, reason
            self.closed.set()
            self.refresh()
            # Last: it lets go what the card was shown with.
            self.registry.remember(self)

    def refresh(self) -> None:
        """Show what has changed."""
        try:
            if self.show is not None:
                self.show(self)
        except Exception:
            # Called from the agent's reader and from timers: what can't be shown must end neither.
            log.exception("card.failed", thread=self.place.thread_id)

    def agree(self, option: int, by: Actor) -> Answer | None:
        """Count somebody's agreement to an option; None: it was the second, so the option may be taken."""
        first = self.agreed.get(option)
        if first is not None and first.id == by.id:
            return Answer(AGREED_ALREADY, accepted=False)
        if first is not None:
            self.seconded = first
            self.agreements.append((self.request.options[option], by))
            return None
        others = {one.name for number, one in self.agreed.items() if number != option and one.id != by.id}
        self.agreed[option] = by
        self.agreements.append((self.request.options[option], by))
        self.refresh()
        text = f"You have agreed to {_named(self.request.options[option])}. Somebody else has to agree, too."
        if others:
            # Two who each want something else have not agreed on anything.
            named = " and ".join(inline_code(name, 60) for name in sorted(others))
            text = f"{text} {named} agreed to another option, which does not count for this one."
        return Answer(text, accepted=True, lasting=True)


class Waiting(Protocol):
    """What waits for a person: a card, or a question."""

    requester: Actor
    approvers: bool
    for_owners: bool


def may_decide(card: Waiting, by: Actor) -> bool:
    """Return whether somebody who is let in may answer a card: buttons and commands ask this alone (C1)."""
    return by.approver or (by.owner if card.for_owners else by.id == card.requester.id)


def who_may(card: Waiting, requester: str) -> str:
    """Return who may answer a card, ``requester`` standing for whoever asked."""
    named = ["an approver"] if card.approvers else []
    # The requester first, but for a bot, which can press nothing.
    named = [*named, "whoever runs me"] if card.for_owners else [requester, *named]
    return " or ".join(named)


def rejecting(options: list[PermissionOption]) -> PermissionOption | None:
    """Return the option that says no this once, else one that says no for good, else None."""
    by_kind = {option.kind: option for option in reversed(options)}
    return by_kind.get("reject_once") or by_kind.get("reject_always")


class PermissionRegistry:
    """All permission requests that people may still press, and those that are over, as many as are remembered.

    Args:
        started: when this run began, in seconds of the wall clock; None: now.
    """

    def __init__(self, started: float | None = None) -> None:
        self._started = time.time() if started is None else started
        self._open: dict[str, Card] = {}
        self._over: OrderedDict[str, Card] = OrderedDict()

    def open(
        self,
        place: ThreadPlace,
        request: PermissionRequest,
        requester: Actor,
        show: Callable[[Card], None],
        *,
        approvers: bool = False,
        for_owners: bool = False,
        two_person: bool = False,
    ) -> Card:
        """Return a new card for the request; it is not shown yet."""
        # Not its number: a custom_id can be sent by hand, and must not be guessed.
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        offered = frozenset(range(len(request.options)))
        card = Card(
            token,
            place,
            request,
            requester,
            self,
            show,
            offered,
            approvers=approvers,
            for_owners=for_owners,
            two_person=two_person,
        )
        self._open[token] = card
        return card

    def remember(self, card: Card) -> None:
        """Keep a card that is over for a while, so that a late click gets a true answer."""
        # The card outlives its turn by far: what it was shown and answered with would be kept with it.
        card.show = card.offer = None
        bare = ToolCallUpdate(tool_call_id=card.request.tool_call.tool_call_id)
        params = PermissionParams(session_id="", tool_call=bare, options=card.request.options)
        card.request = PermissionRequest(card.request.id, params, lambda _request, _response: None)
        card.request.answered = True
        # Only what is over is forgotten: an agent that asks a thousand times must not take away another thread's card.
        self._over[card.token] = self._open.pop(card.token)
        while len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    def roles_now(self, guild_id: int | None, user_id: int, roles: frozenset[int]) -> bool:
        """Take note of the roles that somebody has now in a server; return whether they have agreed to anything there.

        What they agreed to stands until `recheck`.
        """
        found = [
            (card, option, by)
            for card in self._open.values()
            if card.place.guild_id == guild_id
            for option, by in card.agreed.items()
            if by.id == user_id
        ]
        for card, option, by in found:
            card.agreed[option] = replace(by, roles=roles)
        return bool(found)

    def recheck(self, rights: Callable[[Actor, ThreadPlace], Actor | None]) -> None:
        """Take back the agreement of people who may no longer decide: two have to agree who may.

        Args:
            rights: gives somebody the rights that they have in a place now; None: they are not let in.
        """
        for card in self._open.values():
            kept = {
                option: by
                for option, by in card.agreed.items()
                if (now := rights(by, card.place)) is not None and may_decide(card, now)
            }
            if kept.keys() != card.agreed.keys():
                card.agreed = kept
                card.refresh()

    def waiting(self) -> list[Card]:
        """Return the requests that wait for people."""
        return list(self._open.values())

    @property
    def open_cards(self) -> int:
        """How many requests wait for a person."""
        return len(self._open)

    def find(self, token: str) -> Card | None:
        """Return the card of a token that is still remembered."""
        return self._open.get(token) or self._over.get(token)

    def decide(self, token: str, option: int, by: Actor, message_id: int = 0) -> Answer:
        """Answer a request with its option number ``option``, if ``by`` may; tell the person what happened.

        Args:
            message_id: of the card that was pressed.
        """
        card = self.find(token)
        if card is None or option not in card.offered or card.state is not CardState.OPEN:
            return self.too_late(card, message_id)
        # Looked at only now: that a request is over is no secret, and says more than who might have answered it.
        if not may_decide(card, by):
            return Answer(f"Only {who_may(card, inline_code(card.requester.name))} may answer this.", accepted=False)
        chosen = card.request.options[option]
        rejects = chosen.kind.startswith("reject")
        # From here to the answer there is no await: of two who press at once, one is the second to agree.
        if card.two_person and not rejects and not card.request.answered and (waits := card.agree(option, by)):
            return waits
        return self.take(card, chosen, by)

    def too_late(self, card: Card | None, message_id: int = 0) -> Answer:
        """Return what is said to a press on a card that can't be answered, or not in that way, any more."""
        if card is None and message_id and posted_at(message_id) < self._started:
            return Answer(RESTARTED, accepted=False)
        if card is None or card.state in (CardState.OPEN, CardState.EXPIRED):
            return Answer(EXPIRED, accepted=False)
        text = CANCELLED
        if card.state is CardState.ANSWERED and card.answered_by:
            who = " and ".join(inline_code(one.name) for one in (card.seconded, card.answered_by) if one)
            text = f"Already answered by {who}."
        return Answer(text, accepted=False)

    def take(self, card: Card, chosen: PermissionOption, by: Actor) -> Answer:
        """Answer an open request with one of its options, for somebody who may."""
        # The connection decides who was first: the agent's own cancel may have closed the request unseen.
        if not card.request.select(chosen.option_id):
            card.close(CardState.CANCELLED)
            return Answer(CANCELLED, accepted=False)
        card.close(CardState.ANSWERED, chosen, by)
        # Lasting: that it was answered is said once it is written down who did it.
        return Answer(f"Answered: {_named(chosen)}", accepted=True, lasting=True)


def _named(option: PermissionOption) -> str:
    return inline_code(option.name or option.option_id)


async def expire(card: Card, seconds: float) -> None:
    """Wait for the card's end, at most ``seconds``; then say no with the agent's own option, or ``cancelled``."""
    with anyio.move_on_after(seconds):
        await card.closed.wait()
    if card.state is not CardState.OPEN:
        return
    # The agent's own "no" first: after `cancelled` many agents end the whole turn.
    chosen = rejecting(card.request.options)
    taken = card.request.select(chosen.option_id) if chosen else card.request.cancel()
    card.close(CardState.EXPIRED if taken else CardState.CANCELLED, chosen if taken else None)


def rejection(cards: Sequence[Card]) -> str:
    """Return what is said of a turn that its agent gave up after these cards; empty if the last word was no "no"."""
    decided = [card for card in cards if card.state not in (CardState.OPEN, CardState.CANCELLED)]
    if not decided:
        return ""
    # The last one only: after an earlier "no" the agent went on, so that one did not end the turn.
    last = decided[-1]
    if last.state is CardState.EXPIRED:
        return "Nobody answered the agent's request in time, so the agent ended its turn. Write again to go on."
    if last.state is CardState.UNSEEN:
        return "The agent ended its turn because its request could not be shown in full. Write again to go on."
    if last.answered_by is None or last.chosen is None or not last.chosen.kind.startswith("reject"):
        return ""
    who = inline_code(last.answered_by.name, 60)
    return f"The agent ended its turn after {who} rejected its request. Write what it should do instead."
