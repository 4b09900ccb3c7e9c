"""`/board`: a message that lists the threads of the server, kept up to date in the channel where it was asked for."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.authorize import Purpose
from bot.chat.interactions import respond, thread_of
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

NOT_HERE = Answer("Use this in a channel: the board is posted there.", accepted=False)
NOT_YOURS = Answer("Only approvers and people with the Manage Server permission can do this.", accepted=False)


@app_commands.command(name="board", description="Keep a list of all threads up to date in this channel")
@app_commands.describe(what="on: post it here, or move it to the bottom; off: remove it")
@app_commands.choices(what=[Choice(name="on", value="on"), Choice(name="off", value="off")])
@app_commands.guild_only()
async def board(interaction: discord.Interaction[Any], what: str = "on") -> None:
    """Put up or end the board of a channel, which everybody there sees."""
    guild_id, channel_id, thread_id = interaction.guild_id, interaction.channel_id, thread_of(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if guild_id is None or channel_id is None or thread_id is not None:
            return NOT_HERE
        if not (interaction.permissions.manage_guild or by.owner or by.approver):
            return NOT_YOURS
        boards = dispatcher.outside.boards
        return boards.end(channel_id) if what == "off" else boards.put_up(guild_id, channel_id)

    # Approvers as well who may not prompt: it is for those who look after threads.
    await respond(interaction, act, purpose=Purpose.DECIDE)
