"""`/verbosity`: how much of a turn is shown in a thread, a channel or everywhere on the server."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import NOT_IN_THREAD
from bot.chat.interactions import respond, thread_of
from bot.model import Actor, Verbosity
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from bot.work.verbosity import LEVELS, Places, Scope

USUAL = "usual"
OUTSIDE = Answer(f"{NOT_IN_THREAD} For a channel or the server, choose it as `where`.", accepted=False)
NOT_FOR_SERVER = "Only people with the Manage Server permission can choose this for the whole server."
NOT_FOR_CHANNEL = "Only people with the Manage Channels permission can choose this for the whole channel."
_LEVELS = [Choice(name=f"{level}: {shown}", value=level.value) for level, shown in LEVELS.items()]


@app_commands.command(name="verbosity", description="Choose how much you see of the agent's work")
@app_commands.describe(
    level="How much; leave it out to see what holds here", where="Where it holds; by default in this thread"
)
@app_commands.choices(
    level=[*_LEVELS, Choice(name="usual: as chosen for the channel or server, or in the settings", value=USUAL)],
    where=[Choice(name=scope.value, value=scope.value) for scope in Scope],
)
@app_commands.guild_only()
async def verbosity(interaction: discord.Interaction[Any], level: str | None = None, where: str = "thread") -> None:
    """Choose a level; everybody sees it, since it concerns what they see. Without a level, show which one holds."""
    channel, scope = interaction.channel, Scope(where)
    parent = channel.parent_id if isinstance(channel, discord.Thread) else interaction.channel_id
    places = Places(thread_of(interaction), parent, interaction.guild_id)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        # Showing what holds takes no right, so it comes before all of those.
        if level is None:
            return dispatcher.verbosity.describe(places)
        # Those of the person in the channel of the command, as Discord says with it.
        rights = interaction.permissions
        if scope is Scope.SERVER and not (rights.manage_guild or by.owner):
            return Answer(NOT_FOR_SERVER, accepted=False)
        if scope is Scope.CHANNEL and not (rights.manage_channels or by.owner):
            return Answer(NOT_FOR_CHANNEL, accepted=False)
        if scope is Scope.THREAD and places.thread is None:
            return OUTSIDE
        return dispatcher.verbosity.choose(scope, places, None if level == USUAL else Verbosity(level), by)

    # What somebody merely looks up is shown to them alone.
    await respond(interaction, act, shown=level is not None)
