"""Threads from outside: what stands above them, and who sees them (`bot.work.ports.Channels`).

The client's cache is asked first, since the gateway keeps it up to date. It knows the threads that are active; any
other is asked of Discord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import discord

from bot.chat.posts import Json, field, snowflake
from bot.chat.rest import READ_LEAVE_LIMIT, Rest, TryAgain
from bot.redaction import Redactor
from bot.reply.port import Unavailable
from bot.work.ports import ThreadHeader


@dataclass(frozen=True, slots=True)
class DiscordChannels:
    """Asks the current client, or Discord by it."""

    _current: Callable[[], discord.Client]
    _rest: Rest
    _redactor: Redactor

    async def header(self, thread_id: int) -> ThreadHeader:
        async def look(client: discord.Client) -> ThreadHeader:
            if not client.is_ready():
                raise TryAgain("discord has not told of its servers yet")  # nor of the tags that a forum has
            # While no events come, the cache may be wrong about what Weft itself has changed.
            cached = client.get_channel(thread_id) if client.ws.open else None
            me = client.user.id if client.user is not None else 0
            if isinstance(cached, discord.Thread):
                return ThreadHeader(
                    cached.name,
                    own=cached.owner_id == me,
                    open=not cached.archived and not cached.locked,
                    tags=tuple(tag.id for tag in cached.applied_tags),
                    choices=_choices(cached.parent),
                )
            described: Json = await client.http.get_channel(thread_id)
            return _described(client, described, me)

        return await self._rest.call(look, essential=False, leave_limit=READ_LEAVE_LIMIT)

    async def change_header(self, thread_id: int, *, name: str | None, tags: Sequence[int] | None) -> None:
        fields: dict[str, Any] = {}
        if name is not None:
            fields["name"] = self._redactor.text(name)
        if tags is not None:
            fields["applied_tags"] = [str(tag) for tag in tags]
        # Nobody misses a name or a tag that comes late, so these are the first that the breaker stops.
        await self._rest.call(lambda client: client.http.edit_channel(thread_id, **fields), essential=False)

    def seen_by_all(self, thread_id: int, channel_id: int) -> bool:
        try:
            client = self._current()
        except Unavailable:
            return False
        thread, channel = client.get_channel(thread_id), client.get_channel(channel_id)
        if not isinstance(thread, discord.Thread) or not isinstance(channel, discord.abc.GuildChannel):
            return False
        parent = thread.parent
        if thread.is_private() or parent is None or parent.guild != channel.guild:
            return False
        return parent == channel or _open_to_all(parent) or _views(parent) == _views(channel)


def _choices(parent: object) -> dict[str, int]:
    tags: Iterable[discord.ForumTag] = parent.available_tags if isinstance(parent, discord.ForumChannel) else ()
    # The first of two that differ in case only.
    return {tag.name.strip().lower(): tag.id for tag in reversed(list(tags))}


def _described(client: discord.Client, thread: Json, me: int) -> ThreadHeader:
    metadata = field(thread, "thread_metadata", dict)
    parent_id = snowflake(thread.get("parent_id"))
    tags = (snowflake(tag) for tag in field(thread, "applied_tags", list))
    return ThreadHeader(
        field(thread, "name", str),
        own=snowflake(thread.get("owner_id")) == me,
        # What is no thread has none of this, and is left as it is.
        open=bool(metadata) and metadata.get("archived") is False and metadata.get("locked") is not True,
        tags=tuple(tag for tag in tags if tag is not None),
        choices=_choices(client.get_channel(parent_id) if parent_id is not None else None),
    )


def _open_to_all(channel: discord.abc.GuildChannel) -> bool:
    """Return whether the whole server sees a channel, with nobody kept out."""
    kept_out = any(overwrite.view_channel is False for overwrite in channel.overwrites.values())
    return not kept_out and channel.permissions_for(channel.guild.default_role).view_channel


def _views(channel: discord.abc.GuildChannel) -> dict[int, bool]:
    """Return whom a channel lets in or keeps out beside what roles say everywhere, by their ids.

    Two channels with the same are seen by the same people, as those of a category are that follow its permissions.
    """
    return {
        who.id: overwrite.view_channel
        for who, overwrite in channel.overwrites.items()
        if overwrite.view_channel is not None
    }
