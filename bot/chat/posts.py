"""discord.py's messages as the rules see them, and only those that are whole."""

from __future__ import annotations

from typing import Any

import discord

from bot.chat.asking import actor_of
from bot.chat.inbound import Place, Post

ORDINARY = frozenset({discord.MessageType.default, discord.MessageType.reply})
_WHOLE = frozenset({"id", "channel_id", "author", "content", "type"})


def only_whole_updates(client: discord.Client) -> None:
    """Keep updates of messages from a client that leave out what the message says.

    discord.py 2.7 raises on them in its reader, which ends the connection. It has no other place to stop them.
    """
    parsers = client._connection.parsers
    parse = parsers["MESSAGE_UPDATE"]

    def parse_whole(update: dict[str, Any]) -> None:
        if update.keys() >= _WHOLE:
            parse(update)

    parsers["MESSAGE_UPDATE"] = parse_whole


def post_of(message: discord.Message, place: Place) -> Post:
    """Return a message as the rules see it; one from a channel's history does not tell its author's roles."""
    thread = message.thread
    return Post(
        message_id=message.id,
        place=place,
        author=actor_of(message.author),
        content=message.content,
        ordinary=message.type in ORDINARY,
        automatic=message.author.bot or message.webhook_id is not None,
        mentions=frozenset(user.id for user in message.mentions),
        crowds=frozenset(message.raw_role_mentions),
        everyone=message.mention_everyone,
        attachments=len(message.attachments),
        has_thread=thread is not None or message.flags.has_thread,
        thread_owner=thread.owner_id if thread is not None else None,
    )
