"""Looks up what became of waiting messages while nobody listened: no event tells of edits and deletions then (Q5, R2).

Each is fetched by its id. What comes of it is decided as for live events. Its author may have lost the role that
let them in: roles are asked for, too. No state is kept here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Protocol

import anyio

from bot.chat.authorize import Policy
from bot.chat.errands import contain
from bot.chat.inbound import Place, Post
from bot.chat.roles import Roles
from bot.reply.port import MessageGone
from bot.work.ports import Desk

MOST, AT_ONCE = 50, 4
"""Messages of a place that are looked up, the newest ones, and how many at a time."""

LIMIT = 10.0
"""Seconds for one message; of one that can't be had by then, what was accepted holds."""


class Messages(Protocol):
    """Where messages are. Errors are those of `bot.reply.port`."""

    async def message(self, place: Place, message_id: int) -> Post:
        """Return a message as it is now; `MessageGone`: it was deleted."""


class Reviser(Protocol):
    """The client that became ready."""

    @property
    def desk(self) -> Desk:
        """The work."""

    @property
    def policy(self) -> Policy:
        """Who is let in."""

    def whereabouts(self, place_id: int) -> Place | None:
        """Return a place by its id, if it is known."""

    def noted(self, message_id: int) -> int | None:
        """Return a mark of what the message is known to say; another one: it was heard to say something else."""

    def wording(self, post: Post) -> str | None:
        """Return what the message asks for now; None if its author has no say."""

    def revise(self, post: Post, *, edited: bool) -> None:
        """Tell the work what the message says, if that is new; ``edited``: it is not what it once said."""

    def withdraw(self, message_id: int) -> None:
        """Take a message out that was deleted."""


async def look_again(reviser: Reviser, messages: Messages, roles: Roles) -> None:
    """Look all messages up that wait, and tell the work what became of them."""
    todo = iter(_todo(reviser))
    async with anyio.create_task_group() as workers:
        for _ in range(AT_ONCE):
            workers.start_soon(_look, reviser, messages, roles, todo)


def _todo(reviser: Reviser) -> list[tuple[int, Place]]:
    """Return what is to be looked up, in order: what is next to run comes first."""
    found: list[tuple[int, Place]] = []
    for place_id, waiting in reviser.desk.waiting().items():
        place = reviser.whereabouts(place_id)
        if place is not None:
            found += [(message_id, place) for message_id in sorted(waiting)[-MOST:]]
    return sorted(found, key=lambda one: one[0])


async def ask_for_roles(reviser: Reviser, roles: Roles) -> None:
    """Tell the work which roles the authors of waiting messages have now, where a role may decide (D2)."""
    known = reviser.policy.users | reviser.policy.owners
    for guild_id, user_id in sorted(reviser.desk.authors()):
        if reviser.policy.roles and user_id not in known:
            job = functools.partial(_ask_for, reviser, roles, guild_id, user_id)
            await contain(f"roles of {user_id}", job, LIMIT)


async def _ask_for(reviser: Reviser, roles: Roles, guild_id: int, user_id: int) -> None:
    reviser.desk.roles_now(guild_id, user_id, await roles.of(guild_id, user_id))


async def _look(reviser: Reviser, messages: Messages, roles: Roles, todo: Iterator[tuple[int, Place]]) -> None:
    for message_id, place in todo:
        job = functools.partial(_review, reviser, messages, roles, message_id, place)
        await contain(f"review of {message_id}", job, LIMIT)


async def _review(reviser: Reviser, messages: Messages, roles: Roles, message_id: int, place: Place) -> None:
    before = reviser.noted(message_id)
    try:
        now = await messages.message(place, message_id)
    except MessageGone:
        reviser.withdraw(message_id)
        return
    post = await roles.complete(now, reviser.policy.roles, lambda one: reviser.wording(one) is not None)
    # What was heard meanwhile is newer than what was read.
    if reviser.noted(message_id) == before:
        reviser.revise(post, edited=now.edited)
