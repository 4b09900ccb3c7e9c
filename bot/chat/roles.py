"""Roles of people whose messages were looked up: Discord's history does not tell them, so they are asked for.

The mutable state is what was asked for already; it lives as long as one catch-up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import anyio
import structlog

from bot.chat.inbound import Post
from bot.reply.port import PortError, Unavailable

log = structlog.get_logger(__name__)


class Members(Protocol):
    """Who knows roles. Errors are those of `bot.reply.port`."""

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the roles of a member."""


class Roles:
    """Roles of members, each asked for once."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._known: dict[tuple[int, int], frozenset[int]] = {}
        self._lock = anyio.Lock()

    async def complete(self, post: Post, wanted: frozenset[int], let_in: Callable[[Post], bool]) -> Post:
        """Return the post with its author's roles, if one of the ``wanted`` may decide whether it is let in."""
        guild_id = post.place.guild_id
        if let_in(post) or guild_id is None or not wanted or not let_in(_with_roles(post, wanted)):
            return post
        return _with_roles(post, await self.of(guild_id, post.author.id))

    async def of(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return a member's roles; none for somebody whom Discord does not know: Weft is closed by default (D2).

        Raises:
            Unavailable: Discord did not say, so nothing is decided yet.
        """
        async with self._lock:
            key = guild_id, user_id
            if key not in self._known:
                try:
                    self._known[key] = await self._members.roles(guild_id, user_id)
                except Unavailable:
                    raise
                except PortError as exc:
                    log.warning("member.unknown", user=user_id, error=str(exc))
                    self._known[key] = frozenset()
            return self._known[key]


def _with_roles(post: Post, roles: frozenset[int]) -> Post:
    return dataclasses.replace(post, author=dataclasses.replace(post.author, roles=roles))
