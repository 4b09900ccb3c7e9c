"""The answer to a command as the message of a prompt: from there on it is treated like any other message."""

from __future__ import annotations

from typing import Any

import discord

from bot.chat.client import WeftClient
from bot.chat.inbound import Decision, Kind, Place, Post, title
from bot.chat.interactions import actor_of
from bot.model import Inbound


def ask(interaction: discord.Interaction[Any], message_id: int, text: str) -> None:
    """Have the agent of the conversation asked ``text`` by who gave the command; ``message_id``: of the answer."""
    client, place, author = interaction.client, place_of(interaction), actor_of(interaction.user)
    assert isinstance(client, WeftClient)
    inbound = Inbound(
        message_id=message_id,
        channel_id=place.channel_id,
        thread_id=place.channel_id,
        guild_id=interaction.guild_id,
        author=author,
        text=text,
        opens_thread=False,
        title=title(text),
        parent_id=place.parent_id,
    )
    if may_begin(client, inbound):
        client.take(Post(message_id, place, author, text), Decision(Kind.PROMPT, inbound))


def place_of(interaction: discord.Interaction[Any]) -> Place:
    """Return where a command was given."""
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return Place(interaction.guild_id, channel.id, channel.parent_id, channel.owner_id)
    return Place(interaction.guild_id, interaction.channel_id or 0)


def may_begin(client: WeftClient, inbound: Inbound, agent: str | None = None) -> bool:
    """Return whether a prompt by command may still be taken, now that its message is there; if not, say so on it."""
    # Asked again, without opening anything: the bot may have begun to stop while the answer was sent, and the next run
    # does not look for its own messages.
    now = client.dispatcher.controls.renew(None, agent, inbound.author)
    if not now.accepted:
        client.state.answers.post(client.state.chat.refuse, inbound, now.text)
    return now.accepted
