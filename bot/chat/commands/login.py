"""`/login` and `/logout`: the account that an agent uses on its machine."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands

from bot.chat.authorize import Purpose
from bot.chat.interactions import agent_place, asker_of, respond_later

# Approvers may, too, who need not be let in to write prompts: see `bot.work.login`.


@app_commands.command(name="login", description="Show how to log in to the agent")
@app_commands.guild_only()
async def login(interaction: discord.Interaction[Any]) -> None:
    """Show the agent's ways to log in, with buttons for those that it goes by itself."""
    by, here = asker_of(interaction), interaction.channel_id or 0
    await respond_later(
        interaction,
        lambda work: work.logins.show(agent_place(interaction, work), here, by),
        purpose=Purpose.DECIDE,
    )


@app_commands.command(name="logout", description="Log the agent out, for everybody")
@app_commands.guild_only()
async def logout(interaction: discord.Interaction[Any]) -> None:
    """Ask whether the agent is to be logged out."""
    by, here = asker_of(interaction), interaction.channel_id or 0
    await respond_later(
        interaction,
        lambda work: work.logins.offer_logout(agent_place(interaction, work), here, by),
        purpose=Purpose.DECIDE,
    )
