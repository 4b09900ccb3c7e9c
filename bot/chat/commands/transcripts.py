"""`/export`: what is kept of a thread's turns, for whoever asks."""

from __future__ import annotations

from typing import Any, cast

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.interactions import respond, respond_later, thread_of
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
        await respond_later(interaction, lambda work: work.exports.export(thread_id, guild_id, wanted))
