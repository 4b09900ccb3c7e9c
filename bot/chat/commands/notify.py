"""`/notify`: when I am pinged for what I have asked."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE_OR_EVERYWHERE
from bot.chat.interactions import respond, thread_of
from bot.model import Actor
from bot.work.attention.notifications import Notify
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

LEVELS = {
    Notify.ALWAYS: "when an agent needs me, and whenever my turn ends",
    Notify.NEEDED: "when an agent needs me, a turn fails, or one of 2 min or more ends",
    Notify.NEVER: "no pings",
}


@app_commands.command(name="notify", description="Choose when you are pinged about your requests")
@app_commands.describe(when="When you are pinged", everywhere="In all threads of this server, not just in this one")
@app_commands.choices(when=[Choice(name=f"{one}: {does}", value=one.value) for one, does in LEVELS.items()])
@app_commands.guild_only()
async def notify(interaction: discord.Interaction[Any], when: str, everywhere: bool = False) -> None:
    """Choose for whoever asks, and for nobody else."""
    thread_id, guild_id = thread_of(interaction), interaction.guild_id

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if thread_id is None and not everywhere:
            return ELSEWHERE_OR_EVERYWHERE
        return dispatcher.notifications.choose(Notify(when), by, None if everywhere else thread_id, guild_id)

    # Not shown to the thread: when somebody is pinged concerns nobody else.
    await respond(interaction, act)
