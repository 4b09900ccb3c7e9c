"""`/help`: what one can do here, and which commands there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import discord
from discord import app_commands

from bot.chat.authorize import Purpose
from bot.chat.client import WeftClient
from bot.chat.interactions import respond
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.guide.help import Kind
from bot.work.ports import Answer


def help_on(names: Sequence[str]) -> app_commands.Command[Any, ..., None]:
    """Return the command; ``names``: those of all others."""

    @app_commands.command(name="help", description="Show what you can do here")
    @app_commands.guild_only()
    async def help_here(interaction: discord.Interaction[Any]) -> None:
        """Show what can be done where it was typed, with buttons for it, and the commands."""
        client, channel = interaction.client, interaction.channel
        assert isinstance(client, WeftClient)
        me, place_id = client.user.id if client.user is not None else 0, interaction.channel_id or 0
        kind = Kind.CHANNEL
        if isinstance(channel, discord.Thread):
            kind = Kind.THREAD if channel.owner_id == me else Kind.GUEST_THREAD

        def act(dispatcher: Dispatcher, by: Actor) -> Answer:
            return dispatcher.guide.help(kind, place_id, interaction.guild_id, by, weft=f"<@{me}>", commands=names)

        await respond(interaction, act, purpose=Purpose.DECIDE)

    return help_here
