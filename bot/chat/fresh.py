"""``/new``: a new thread with an agent of one's choice or, in a thread, a new conversation there.

What Weft answers is seen by everybody, and becomes the message that the thread is opened from and that the prompt, if
there is one, is known by: from there on it fares like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.asking import Front, actor_of, permitted, respond, thread_of
from bot.chat.inbound import Place, Post, title
from bot.model import Actor, Inbound
from bot.work.ports import Answer

MOST_SUGGESTED = 25
"""Discord's limit."""

WRITE_ON = "Write in the thread what you want done."


class Opening(Front, Protocol):
    """A client that takes what stands in Weft's own answer."""

    def begin(self, post: Post, inbound: Inbound) -> None:
        """Take the request; one without text only opens its thread."""

    def decline(self, inbound: Inbound, text: str) -> None:
        """Say below the request why it is not taken."""


@app_commands.command(name="new", description="Open a thread with an agent, or start afresh in this one")
@app_commands.describe(agent="Which agent; otherwise the usual one", prompt="What you want done")
@app_commands.guild_only()
async def new(interaction: discord.Interaction[Any], agent: str | None = None, prompt: str | None = None) -> None:
    """Open a thread, or begin anew in the one where it is typed, and ask the prompt there."""
    thread_id, text = thread_of(interaction), (prompt or "").strip()

    def act(front: Front, by: Actor) -> Answer:
        answer = front.desk.renew(thread_id, agent, by)
        return (
            replace(answer, text=_announced(answer.text, text, opens=thread_id is None)) if answer.accepted else answer
        )

    message_id = await respond(interaction, act, shown=True)
    if message_id is not None:
        _begin(interaction, message_id, agent, text)


@new.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    if not permitted(interaction):
        return []
    front: Front = interaction.client
    names = [name for name in front.desk.agents() if typed.lower() in name]
    return [Choice(name=name, value=name) for name in names[:MOST_SUGGESTED]]


def _announced(opening: str, text: str, *, opens: bool) -> str:
    if text:
        return f"{opening}\n>>> {text}"
    return f"{opening} {WRITE_ON}" if opens else opening


def _begin(interaction: discord.Interaction[Any], message_id: int, agent: str | None, text: str) -> None:
    client: Opening = interaction.client
    place, author = _place(interaction), actor_of(interaction.user)
    opens = place.parent_id is None
    inbound = Inbound(
        message_id=message_id,
        channel_id=place.channel_id,
        thread_id=message_id if opens else place.channel_id,
        guild_id=place.guild_id,
        author=author,
        text=text,
        opens_thread=opens,
        title=title(text or (f"New conversation with {agent}" if agent else "New conversation")),
        parent_id=place.parent_id,
    )
    # The bot may have been told to stop meanwhile, and the next one does not look for messages of its own.
    now = client.desk.renew(None, agent, author)
    if not now.accepted:
        client.decline(inbound, now.text)
        return
    if opens and agent is not None:
        client.desk.assign(message_id, agent)
    client.begin(Post(message_id, place, author, text), inbound)


def _place(interaction: discord.Interaction[Any]) -> Place:
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return Place(interaction.guild_id, channel.id, channel.parent_id, channel.owner_id)
    return Place(interaction.guild_id, interaction.channel_id or 0)
