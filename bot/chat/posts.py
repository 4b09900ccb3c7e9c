"""Messages as the rules see them, read from Discord's JSON.

discord.py's own objects are not made: one field that it can't take loses the whole message there, and in a page of
history the whole page. Discord adds to its objects and leaves things out, so whatever is not as expected counts as not
there; nothing raises. At most that message is lost, and only the indispensable fields have to be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import discord
import structlog

from bot.chat.inbound import Place, Post
from bot.model import Actor, Attachment, Origin, Quote

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]
T = TypeVar("T", str, list[Any], dict[str, Any])
_DIGITS = 20
_MOST = 2**53

MOST_ATTACHMENTS = 100
"""Of a message and what it forwards; Discord has ten each."""

ORDINARY = frozenset({discord.MessageType.default.value, discord.MessageType.reply.value})
WHOLE = frozenset({"id", "channel_id", "author", "content", "type"})
"""What an update of a message has if it tells what the message says; it may be of its preview only."""
_THREADS = frozenset(
    {
        discord.ChannelType.news_thread.value,
        discord.ChannelType.public_thread.value,
        discord.ChannelType.private_thread.value,
    }
)
_USER = re.compile(r"<@!?(\d{1,20})>")
NOBODY = Actor(0, "somebody")


def place_of(channel: object) -> Place | None:
    """Return a channel or thread as a place; None if its description can't be read."""
    described: Json = channel if isinstance(channel, Mapping) else {}
    channel_id, guild_id = snowflake(described.get("id")), snowflake(described.get("guild_id"))
    if channel_id is None:
        return None
    kind = described.get("type")
    if type(kind) is not int or kind not in _THREADS:
        return Place(guild_id, channel_id)
    parent_id, owner_id = snowflake(described.get("parent_id")), snowflake(described.get("owner_id"))
    return Place(guild_id, channel_id, parent_id, owner_id, field(described, "name", str))


def posts_of(page: Iterable[object], place: Place) -> list[Post]:
    """Return the messages of a page of history, in order; one that can't be read is left out."""
    posts = [post for message in page if (post := post_of(message, place)) is not None]
    return sorted(posts, key=lambda post: post.message_id)


def post_of(message: object, place: Place) -> Post | None:
    """Return a message as the rules see it; None, and a line in the log, if it has no id."""
    data: Json = message if isinstance(message, Mapping) else {}
    author = field(data, "author", dict)
    message_id, author_id = snowflake(data.get("id")), snowflake(author.get("id"))
    if message_id is None or author_id is None:
        log.warning("message.unreadable", message=data.get("id"), place=place.channel_id)
    if message_id is None:
        return None
    content, kind, flags = data.get("content"), data.get("type"), data.get("flags")
    garbled, member = not isinstance(content, str), field(data, "member", dict)
    names = [field(member, "nick", str), field(author, "global_name", str), field(author, "username", str)]
    # Only live messages tell roles: history leaves the member out. The role of everybody has the server's id.
    roles = _ids(field(member, "roles", list)) | ({place.guild_id} if member and place.guild_id is not None else set())
    name = next((name for name in names if name), NOBODY.name)
    thread = field(data, "thread", dict)
    marked = type(flags) is int and bool(flags & discord.MessageFlags.has_thread.flag)
    original, reference = _replied_to(data, place)
    return Post(
        message_id=message_id,
        place=place,
        # A message whose author can't be read is nobody's, and starts nothing.
        author=NOBODY if author_id is None else Actor(author_id, name, roles),
        content="" if garbled else str(content),
        garbled=garbled,
        ordinary=author_id is not None and (type(kind) is not int or kind in ORDINARY),
        # A webhook's author is no account, so it need not be marked as a bot.
        automatic=bool(author.get("bot")) or data.get("webhook_id") is not None,
        mentions=_mentions(data),
        crowds=_ids(field(data, "mention_roles", list)),
        everyone=bool(data.get("mention_everyone")),
        attachments=attachments(data, place.channel_id),
        has_thread=bool(thread) or marked,
        thread_owner=snowflake(thread.get("owner_id")),
        edited=data.get("edited_timestamp") is not None,
        reacted=any(isinstance(one, Mapping) and one.get("me") is True for one in field(data, "reactions", list)),
        quotes=quotes(data),
        gist=gist(data),
        original=original,
        reference=reference,
        custom_ids=tuple(
            custom_id
            for row in field(data, "components", list)
            for button in field(row, "components", list)
            if (custom_id := field(button, "custom_id", str))
        ),
    )


def _mentions(data: Json) -> frozenset[int]:
    """Return who is mentioned in the text itself: a reply notifies the author of the original, and mentions nobody."""
    content = data.get("content")
    named = _ids([one.get("id") for one in field(data, "mentions", list) if isinstance(one, Mapping)])
    if not isinstance(content, str):
        return named
    written = _ids(_USER.findall(content))
    return written & named if isinstance(data.get("mentions"), list) else written


def _replied_to(data: Json, place: Place) -> tuple[Post | None, int | None]:
    """Return the message that is replied to or, where Discord did not send it along, its id."""
    if data.get("type") != discord.MessageType.reply.value:
        return None, None  # a forwarded message has a reference, too
    original = field(data, "referenced_message", dict)
    if original:
        # What the original replies to in its turn is not sent along.
        return post_of({**original, "referenced_message": None}, place), None
    if "referenced_message" in data and data["referenced_message"] is None:
        return None, None  # null stands for a message that was deleted
    return None, snowflake(field(data, "message_reference", dict).get("message_id"))


def reply_to(message: object) -> int | None:
    """Return the id of the message that a reply names, be that still there or not."""
    is_reply = isinstance(message, Mapping) and message.get("type") == discord.MessageType.reply.value
    return snowflake(field(field(message, "message_reference", dict), "message_id", str)) if is_reply else None


def quotes(message: Json) -> tuple[Quote, ...]:
    """Return the words of a message besides its text: what it forwards, its poll and its stickers."""
    found = [Quote("Forwarded message", gist(one)) for one in _snapshots(message)]
    poll = field(message, "poll", dict)
    answers = [field(field(one, "poll_media", dict), "text", str) for one in field(poll, "answers", list)]
    lines = [field(field(poll, "question", dict), "text", str), *(f"- {answer}" for answer in answers if answer)]
    found.append(Quote("Poll", "\n".join(line for line in lines if line)))
    found.append(Quote("Sticker", "\n".join(field(one, "name", str) for one in field(message, "sticker_items", list))))
    return tuple(quote for quote in found if quote.text.strip())


def gist(message: Json) -> str:
    """Return how a message reads to somebody who quotes it: its text or its previews, and the rest."""
    lines = [field(message, "content", str)] if field(message, "content", str) else []
    for embed in field(message, "embeds", list) if not lines else ():
        fields = [f"{field(one, 'name', str)}: {field(one, 'value', str)}" for one in field(embed, "fields", list)]
        lines += [
            one for one in (field(embed, "title", str), field(embed, "description", str), *fields) if one.strip(": ")
        ]
    # What it forwards is not said by its author, either.
    return "\n".join([*lines, *(f"({quote.headline}) {quote.text}" for quote in quotes(message))])


def attachments(message: Json, channel_id: int) -> tuple[Attachment, ...]:
    """Return the files of a message, then those of what it forwards; what has no id can't be asked for."""
    message_id, flags = snowflake(message.get("id")), message.get("flags")
    voice = type(flags) is int and bool(flags & discord.MessageFlags.voice.flag)
    found: list[Attachment] = []
    for holder, origin in ((message, Origin.MESSAGE), *((one, Origin.FORWARDED) for one in _snapshots(message))):
        for one in field(holder, "attachments", list):
            attachment_id = snowflake(one.get("id")) if isinstance(one, Mapping) else None
            if attachment_id is None or message_id is None:
                continue
            size, seconds = one.get("size"), one.get("duration_secs")
            # Nothing that is counted here has more: float() and the writing of numbers have an end.
            known = isinstance(seconds, int | float) and 0 <= seconds < _MOST
            found.append(
                Attachment(
                    id=attachment_id,
                    name=field(one, "filename", str),
                    size=size if type(size) is int and 0 <= size < _MOST else 0,
                    content_type=field(one, "content_type", str),
                    url=field(one, "url", str),
                    channel_id=channel_id,
                    message_id=message_id,
                    origin=origin,
                    duration=(float(seconds) if known else 0.0) if voice else None,
                )
            )
    return tuple(found[:MOST_ATTACHMENTS])


def _snapshots(message: Json) -> list[Json]:
    # What is forwarded in what is forwarded has no end.
    return [
        {**field(one, "message", dict), "message_snapshots": None} for one in field(message, "message_snapshots", list)
    ]


def snowflake(value: object) -> int | None:
    """Return an id, which is a text of digits on the wire."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        # Counted first: int() of a text of thousands of digits takes long, or raises.
        value = int(value) if len(value) <= _DIGITS else None
    return value if type(value) is int and 0 < value < 2**64 else None


def _ids(values: list[object]) -> frozenset[int]:
    return frozenset(one for one in map(snowflake, values) if one is not None)


def field(data: object, key: str, kind: type[T]) -> T:
    """Return an object's value for a key if it is of the expected kind, otherwise an empty one of that kind."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, kind) else kind()
