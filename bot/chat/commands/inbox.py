"""`/inbox`: what waits for whoever asks, in all threads of a server."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands

from bot.chat.authorize import Purpose
from bot.chat.client import WeftClient
from bot.chat.interactions import respond, verdict_on
from bot.chat.questions_here import questions_for
from bot.reply.port import MESSAGE_LIMIT
from bot.reply.render import coarse
from bot.reply.sanitise import inline_code, units
from bot.work.ports import Answer

ALL_QUIET = "Nothing is waiting for your answer."
MORE = "-# and {count} more"
_WHAT_LIMIT = 80


@app_commands.command(name="inbox", description="Show what waits for your answer, in all threads of this server")
@app_commands.guild_only()
async def inbox(interaction: discord.Interaction[Any]) -> None:
    """List the questions that wait for whoever asks, those that wait longest first."""
    allowed = verdict_on(interaction, Purpose.DECIDE).allowed
    found = [one for one in await questions_for(interaction) if not one.agreed] if allowed else []
    client: WeftClient = interaction.client
    redact = client.state.redactor.text
    # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
    lines = [f"- {coarse(one.waited)}: {inline_code(redact(one.what), _WHAT_LIMIT)} {one.link}" for one in found]
    text = fitting(["**Waiting for your answer**", *lines]) if lines else ALL_QUIET
    await respond(interaction, lambda _work, _by: Answer(text, accepted=True), purpose=Purpose.DECIDE)


def fitting(lines: list[str]) -> str:
    """Return as many of the lines as a message has room for, and how many there are besides."""
    room, kept = MESSAGE_LIMIT - units(MORE.format(count=len(lines))) - 1, 0
    while kept < len(lines) and (room := room - units(lines[kept]) - 1) >= 0:
        kept += 1
    more = [MORE.format(count=len(lines) - kept)] if kept < len(lines) else []
    return "\n".join([*lines[:kept], *more])
