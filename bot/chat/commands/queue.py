"""`/queue`: what waits in a thread, and what happens to a message that comes while the agent works."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE, ELSEWHERE_OR_EVERYWHERE
from bot.chat.interactions import respond, thread_of
from bot.model import Actor, QueueMode
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

NOT_FOR_SERVER = "Only people with the Manage Server permission can choose this for the whole server."
MODES = {
    QueueMode.QUEUE: "it waits and gets its own turn",
    QueueMode.FOLLOWUP: "it waits and shares one turn with everything else that waits",
    QueueMode.INTERRUPT: "it ends the turn, drops what waits, and runs next",
    QueueMode.STEER: "the running turn gets it right away",
}

queue = app_commands.Group(name="queue", description="What waits in this thread", guild_only=True)


@queue.command(name="show", description="Show what waits in this thread, and by which rules")
async def show(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's queue."""
    thread_id, guild_id = thread_of(interaction), interaction.guild_id
    await respond(
        interaction,
        lambda work, _by: (
            Answer(work.controls.queue(thread_id, guild_id), accepted=True) if thread_id is not None else ELSEWHERE
        ),
    )


@queue.command(name="clear", description="Take out everything that waits in this thread; what runs goes on")
async def clear(interaction: discord.Interaction[Any]) -> None:
    """Empty the thread's queue."""
    thread_id = thread_of(interaction)
    await respond(
        interaction, lambda work, by: work.controls.clear(thread_id, by) if thread_id is not None else ELSEWHERE
    )


@queue.command(name="mode", description="Choose what happens to a message that comes while the agent works")
@app_commands.describe(mode="What such a message does", everywhere="For the whole server, not just this thread")
@app_commands.choices(mode=[Choice(name=f"{one}: {does}", value=one.value) for one, does in MODES.items()])
async def choose_mode(interaction: discord.Interaction[Any], mode: str, everywhere: bool = False) -> None:
    """Choose a queue mode; everybody in the thread sees it, since it concerns their messages."""
    place_id = interaction.guild_id if everywhere else thread_of(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if place_id is None:
            return ELSEWHERE_OR_EVERYWHERE
        # By Discord's own permission: Weft has no list of who may change a server.
        if everywhere and not (interaction.permissions.manage_guild or by.owner):
            return Answer(NOT_FOR_SERVER, accepted=False)
        return dispatcher.controls.choose_mode(place_id, QueueMode(mode), by, server=everywhere)

    # A refusal is still shown to the person alone: see `respond`.
    await respond(interaction, act, shown=True)
