"""What agents ask and people have not answered yet, as lists show it (pure)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from bot.model import Actor, ThreadPlace
from bot.reply.sanitise import one_line
from bot.work.permissions.cards import Card, may_decide
from bot.work.permissions.decisions import what_of
from bot.work.questions.registry import Question

_LOOKED_AT = 1000
"""Characters of a question: an agent's text may have megabytes."""


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
        return f"https://discord.com/channels/{self.place.guild_id or '@me'}/{self.place.thread_id}/{self.message_id}"


def asked_of(cards: Iterable[Card], questions: Iterable[Question], by: Actor) -> list[Asked]:
    """Return the permission requests and questions that somebody may answer, those that wait longest first."""
    # Nobody decides what they can't look at: not before its message is there.
    asked = [_of_card(one, by) for one in cards if one.message_id and may_decide(one, by)]
    asked += [_of_question(one) for one in questions if one.message_id and may_decide(one, by)]
    return sorted(asked, key=lambda one: one.since)


def _of_card(card: Card, by: Actor) -> Asked:
    return Asked(
        card.token,
        card.place,
        card.message_id,
        what_of(card.request.tool_call),
        card.since,
        tuple((number, _name(card, number)) for number in sorted(card.offered)),
        any(one.id == by.id for one in card.agreed.values()),
    )


def _of_question(question: Question) -> Asked:
    message = one_line(question.request.params.message[:_LOOKED_AT])
    return Asked(question.token, question.place, question.message_id, message, question.since)


def _name(card: Card, number: int) -> str:
    option = card.request.options[number]
    return option.name.strip() or option.option_id
