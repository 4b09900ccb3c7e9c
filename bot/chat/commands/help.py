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

DIRECT = frozenset(
    {
        "agent", "commit", "diff", "effort", "export", "handoff", "help", "login", "logout", "merge", "mode", "model",
        "new", "options", "pr", "queue", "reset", "schedule", "schedules", "status", "stop", "verbosity",
    }
)  # fmt: skip
"""The commands that are offered in direct messages too, where Weft takes them; the others need a server's threads."""


def help_on(names: Sequence[str]) -> app_commands.Command[Any, ..., None]:
    """Return the command; ``names``: those of all others."""

    @app_commands.command(name="help", description="Show what you can do here")
    @app_commands.guild_only()
    async def help_here(interaction: discord.Interaction[Any]) -> None:
        """Show what can be done where it was typed, with buttons for it, and the commands."""
        client, channel = interaction.client, interaction.channel
        assert isinstance(client, WeftClient)
        me, place_id = client.user.id if client.user is not None else 0, interaction.channel_id or 0
        place = client.find_place(place_id)
        if interaction.guild_id is None:
            kind = Kind.DIRECT
        elif not isinstance(channel, discord.Thread):
            kind = Kind.CHANNEL
        else:
            own = place is not None and client.weft(interaction.guild_id).has(place)
            kind = Kind.THREAD if own else Kind.GUEST_THREAD
        here = [name for name in names if kind is not Kind.DIRECT or name in DIRECT]

        def act(dispatcher: Dispatcher, by: Actor) -> Answer:
            return dispatcher.guide.help(kind, place_id, interaction.guild_id, by, weft=f"<@{me}>", commands=here)

        # Approvers may ask, too, who need not be let in to prompt (C1).
        await respond(interaction, act, purpose=Purpose.DECIDE)

    return help_here
