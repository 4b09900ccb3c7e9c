"""Messages as the rules see them, read from Discord's JSON.

discord.py's own objects are not made: one field that it can't take costs the whole message there, and in a page of
history the whole page. Here a message costs at most itself, and only what nothing can be done without has to be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import discord
import structlog

from bot.chat.inbound import Place, Post
from bot.chat.payloads import Json, files, gist, items, part, quotes, snowflake, text
from bot.model import Actor

log = structlog.get_logger(__name__)

ORDINARY = frozenset({discord.MessageType.default.value, discord.MessageType.reply.value})
_WHOLE = frozenset({"id", "channel_id", "author", "content", "type"})
_THREADS = frozenset(
    {
        discord.ChannelType.news_thread.value,
        discord.ChannelType.public_thread.value,
        discord.ChannelType.private_thread.value,
    }
)
_USER = re.compile(r"<@!?(\d{1,20})>")
NOBODY = Actor(0, "somebody")


def whole(update: Json) -> bool:
    """Return whether an update of a message tells what the message says; it may be of its preview only."""
    return update.keys() >= _WHOLE


def stands_in(message: Json) -> tuple[int | None, int | None]:
    """Return a message's server and channel, as far as it tells them."""
    return snowflake(message.get("guild_id")), snowflake(message.get("channel_id"))


def place_of(channel: object) -> Place | None:
    """Return a channel or thread as a place; None if its description can't be read."""
    described: Json = channel if isinstance(channel, Mapping) else {}
    channel_id, guild_id = snowflake(described.get("id")), snowflake(described.get("guild_id"))
    if channel_id is None:
        return None
    kind = described.get("type")
    if type(kind) is not int or kind not in _THREADS:
        return Place(guild_id, channel_id)
    return Place(guild_id, channel_id, snowflake(described.get("parent_id")), snowflake(described.get("owner_id")))


def posts_of(page: Iterable[object], place: Place) -> list[Post]:
    """Return the messages of a page of history, in order; one that can't be read costs itself alone."""
    posts = [post for message in page if (post := post_of(message, place)) is not None]
    return sorted(posts, key=lambda post: post.message_id)


def post_of(message: object, place: Place) -> Post | None:
    """Return a message as the rules see it; None, and a line in the log, if it has no id.

    One whose author can't be read is nobody's, and starts nothing. Roles are told by live messages only.
    """
    data: Json = message if isinstance(message, Mapping) else {}
    message_id, author_id = snowflake(data.get("id")), snowflake(part(data, "author").get("id"))
    if message_id is None or author_id is None:
        log.warning("message.unreadable", message=data.get("id"), place=place.channel_id)
    if message_id is None:
        return None
    content, kind = data.get("content"), data.get("type")
    garbled = not isinstance(content, str)
    thread = part(data, "thread")
    return Post(
        message_id=message_id,
        place=place,
        author=NOBODY if author_id is None else _author(data, author_id, place),
        content="" if garbled else str(content),
        garbled=garbled,
        ordinary=author_id is not None and (type(kind) is not int or kind in ORDINARY),
        automatic=bool(part(data, "author").get("bot")) or data.get("webhook_id") is not None,
        mentions=_mentions(data, None if garbled else str(content)),
        crowds=_ids(items(data, "mention_roles")),
        everyone=bool(data.get("mention_everyone")),
        attachments=len(items(data, "attachments")),
        has_thread=bool(thread) or _has_thread(data.get("flags")),
        thread_owner=snowflake(thread.get("owner_id")),
        edited=data.get("edited_timestamp") is not None,
        reacted=any(isinstance(one, Mapping) and one.get("me") is True for one in items(data, "reactions")),
        quotes=quotes(data),
        gist=gist(data),
        left_out=files(data),
        original=_original(data, place),
        reference=_reference(data),
    )


def _author(data: Json, author_id: int, place: Place) -> Actor:
    member, author = part(data, "member"), part(data, "author")
    names = [text(member, "nick"), text(author, "global_name"), text(author, "username")]
    roles = _ids(items(member, "roles"))
    if member and place.guild_id is not None:
        roles |= {place.guild_id}  # the role of everybody in a server has the server's id
    return Actor(author_id, next((name for name in names if name), NOBODY.name), roles)


def _mentions(data: Json, content: str | None) -> frozenset[int]:
    """Return who is mentioned in the text itself: a reply notifies the author of the original, and mentions nobody."""
    listed = data.get("mentions")
    named = _ids([one.get("id") for one in items(data, "mentions") if isinstance(one, Mapping)])
    if content is None:
        return named
    written = _ids(_USER.findall(content))
    return written & named if isinstance(listed, list) else written


def _ids(values: list[object]) -> frozenset[int]:
    return frozenset(one for one in map(snowflake, values) if one is not None)


def _has_thread(flags: object) -> bool:
    return type(flags) is int and bool(flags & discord.MessageFlags.has_thread.flag)


def _original(data: Json, place: Place) -> Post | None:
    original = part(data, "referenced_message")
    # What it replies to in its turn is not told; a forwarded message has a reference, too.
    return post_of({**original, "referenced_message": None}, place) if original and _is_reply(data) else None


def _reference(data: Json) -> int | None:
    """Return which message is replied to, if that one is not told of; null stands for one that was deleted."""
    if not _is_reply(data) or data.get("referenced_message", ...) is None or part(data, "referenced_message"):
        return None
    return snowflake(part(data, "message_reference").get("message_id"))


def _is_reply(data: Json) -> bool:
    return bool(data.get("type") == discord.MessageType.reply.value)
