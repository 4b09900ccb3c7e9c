"""`/stop`, `/status`, `/diff` and `/reset`.

What the first two do, the same words do when they are typed alone; see `bot.chat.answers`.
"""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.inbound import Command
from bot.chat.interactions import respond, respond_later, thread_of


@app_commands.command(name="stop", description="Stop what the agent is doing in this thread")
@app_commands.describe(what="turn: what runs now, the rest goes on; all: that and everything that waits")
@app_commands.choices(what=[Choice(name="turn", value="turn"), Choice(name="all", value="all")])
@app_commands.guild_only()
async def stop(interaction: discord.Interaction[Any], what: str = "turn") -> None:
    """Stop the oldest running turn of the thread, or everything that runs and waits there."""
    # The very commands that words stand for, so that a typed stop can't come to differ from this one (Q7).
    await respond(interaction, Command.STOP_ALL if what == "all" else Command.STOP)


@app_commands.command(name="status", description="Show what the agent is doing in this thread, or everywhere")
@app_commands.guild_only()
async def status(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's state; outside threads the whole bot's."""
    await respond(interaction, Command.STATUS)


@app_commands.command(name="diff", description="Show everything that changed in the workspace since this thread began")
@app_commands.guild_only()
async def diff(interaction: discord.Interaction[Any]) -> None:
    """Show what changed in the thread's workspace."""
    thread_id = thread_of(interaction)
    if thread_id is None:
        await respond(interaction, lambda _work, _by: ELSEWHERE)
    else:
        # Later: git may take longer than Discord waits.
        await respond_later(interaction, lambda work: work.controls.diff(thread_id))


@app_commands.command(name="reset", description="End this thread's agent and start afresh with the next message")
@app_commands.guild_only()
async def reset(interaction: discord.Interaction[Any]) -> None:
    """End the thread's agent and forget its session."""
    thread_id = thread_of(interaction)
    await respond(
        interaction, lambda work, by: work.controls.reset(thread_id, by) if thread_id is not None else ELSEWHERE
    )
