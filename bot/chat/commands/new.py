"""`/new`: another thread, or another conversation in this one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.client import WeftClient
from bot.chat.inbound import Decision, Kind, Place, Post, title
from bot.chat.interactions import actor_of, choices_of, respond, thread_of, verdict_on
from bot.model import Actor, Inbound
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

WRITE_ON = "Write in the thread what you want done."


@app_commands.command(name="new", description="Open a thread with an agent, or start afresh in this one")
@app_commands.describe(agent="Which agent; otherwise the usual one", prompt="What you want done")
@app_commands.guild_only()
async def new(interaction: discord.Interaction[Any], agent: str | None = None, prompt: str | None = None) -> None:
    """Open a thread, or begin anew in the one where it is typed, and ask the prompt there.

    The answer is the message that the thread is opened from and that the prompt is known by: from there on it is
    treated like any other message.
    """
    thread_id, text = thread_of(interaction), (prompt or "").strip()

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        answer = dispatcher.controls.renew(thread_id, agent, by)
        if not answer.accepted:
            return answer
        if text:
            return replace(answer, text=f"{answer.text}\n>>> {text}")
        return answer if thread_id is not None else replace(answer, text=f"{answer.text} {WRITE_ON}")

    message_id = await respond(interaction, act, shown=True)
    if message_id is None:
        return
    client: WeftClient = interaction.client
    channel, author = interaction.channel, actor_of(interaction.user)
    if isinstance(channel, discord.Thread):
        place = Place(interaction.guild_id, channel.id, channel.parent_id, channel.owner_id)
    else:
        place = Place(interaction.guild_id, interaction.channel_id or 0)
    inbound = Inbound(
        message_id=message_id,
        channel_id=place.channel_id,
        # A thread opened from a message has the message's id.
        thread_id=message_id if thread_id is None else thread_id,
        guild_id=place.guild_id,
        author=author,
        text=text,
        opens_thread=thread_id is None,
        title=title(text or (f"New conversation with {agent}" if agent else "New conversation")),
        parent_id=place.parent_id,
    )
    # Checked again, without opening anything: the bot may have begun to stop while the answer was sent, and the next
    # run does not look for its own messages.
    now = client.dispatcher.controls.renew(None, agent, author)
    if not now.accepted:
        client.state.answers.post(client.state.chat.refuse, inbound, now.text)
        return
    if thread_id is None and agent is not None:
        client.dispatcher.controls.assign(
            message_id, agent
        )  # before the prompt, which starts the agent that its thread has
    if text or thread_id is None:
        client.take(Post(message_id, place, author, text), Decision(Kind.PROMPT, inbound))


@new.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    # Discord asks for these whoever types: a stranger must not learn which agents there are.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.controls.agents()])
