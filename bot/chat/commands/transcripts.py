"""`/export` and `/handoff`: what is kept of a thread's turns, for whoever asks and for another agent."""

from __future__ import annotations

from typing import Any, cast

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.client import WeftClient
from bot.chat.interactions import choices_of, respond, respond_later, thread_of, verdict_on
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from bot.work.transcripts.export import Format


@app_commands.command(name="export", description="Get this thread's conversation as a file")
@app_commands.describe(format="markdown: to read; json: everything that is kept")
@app_commands.choices(format=[Choice(name="markdown", value="markdown"), Choice(name="json", value="json")])
@app_commands.guild_only()
async def export(interaction: discord.Interaction[Any], format: str = "markdown") -> None:  # noqa: A002
    """Show the thread's turns to the person who asks."""
    thread_id, guild_id, wanted = thread_of(interaction), interaction.guild_id, cast("Format", format)
    if thread_id is None:
        await respond(interaction, lambda _work, _by: ELSEWHERE)
    else:
        # Later: it is read from the store, and written out in a worker thread.
        await respond_later(interaction, lambda work: work.exports.export(thread_id, guild_id, wanted))


@app_commands.command(
    name="handoff", description="Go on in this thread with another agent, which reads the conversation first"
)
@app_commands.describe(agent="Which agent takes over")
@app_commands.guild_only()
async def handoff(interaction: discord.Interaction[Any], agent: str) -> None:
    """Give the thread another agent; everybody there sees it, since it concerns what they write next."""
    thread_id = thread_of(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        return dispatcher.controls.hand_off(thread_id, agent, by) if thread_id is not None else ELSEWHERE

    await respond(interaction, act, shown=True)


@handoff.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    # Discord asks for these whoever types: a stranger must not learn which agents there are.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.controls.agents()])
