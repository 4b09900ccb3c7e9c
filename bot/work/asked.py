"""What agents ask and people have not answered yet, as lists show it (pure)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from bot.model import Actor, ThreadPlace
from bot.work.decisions import what_of
from bot.work.permission_cards import Card, may_decide


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that its thread shows.

    Attributes:
        token: names it.
        what: one line in the agent's words, which may be long and hold secrets.
        since: when it was asked, by the monotonic clock.
        options: what can be chosen, by the numbers that `Dispatcher.decide` takes; none: it is answered in its thread.
        agreed: whoever looks has agreed to it already, so that it waits for somebody else.
    """

    token: str
    place: ThreadPlace
    message_id: int
    what: str
    since: float
    options: tuple[tuple[int, str], ...] = ()
    agreed: bool = False

    @property
    def waited(self) -> float:
        """For how many seconds it has waited."""
        return time.monotonic() - self.since

    @property
    def link(self) -> str:
        """The address of the message that shows it."""
        return f"https://discord.com/channels/{self.place.guild_id}/{self.place.thread_id}/{self.message_id}"


def asked_of(cards: Iterable[Card], by: Actor) -> list[Asked]:
    """Return the permission requests that somebody may decide, those that wait longest first."""
    return sorted(
        (
            Asked(
                card.token,
                card.place,
                card.message_id,
                what_of(card.request.tool_call),
                card.since,
                tuple((number, _name(card, number)) for number in sorted(card.offered)),
                any(one.id == by.id for one in card.agreed.values()),
            )
            for card in cards
            # Nobody decides what they can't look at: not before its message is there.
            if card.message_id and may_decide(card, by)
        ),
        key=lambda one: one.since,
    )


def _name(card: Card, number: int) -> str:
    option = card.request.options[number]
    return option.name.strip() or option.option_id
