"""Slash commands: /stop, /status and /reset, in servers only, answered to the one who asks.

They are registered with Discord only when they differ from what was registered last: registrations are few a day.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

import discord
import structlog
from discord import app_commands

from bot.chat.asking import FAILED, respond, tell, thread_of

log = structlog.get_logger(__name__)

NOT_IN_THREAD = "Use this in the thread that it is about."
UNKNOWN = "I don't know this command any more. Discord may show an old list; try again in a minute."


class CommandStamp(Protocol):
    """Keeps, over restarts, which set of commands was registered last."""

    def read(self) -> str | None:
        """Return what was written last, if anything."""

    def write(self, stamp: str) -> None:
        """Keep ``stamp``."""


class WeftTree(app_commands.CommandTree[Any]):
    """The commands; errors end in an answer and a log line."""

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError, /) -> None:
        """Answer a command that failed or that is not known."""
        if isinstance(error, app_commands.CommandNotFound):
            await tell(interaction, UNKNOWN)
            return
        log.error("command.failed", interaction=interaction.id, exc_info=error)
        await tell(interaction, FAILED)


def make_tree(client: discord.Client) -> WeftTree:
    """Return the client's command tree with all commands in it."""
    tree = WeftTree(client)
    commands: tuple[app_commands.Command[Any, ..., None], ...] = (stop, status, reset)
    for command in commands:
        tree.add_command(command)
    return tree


@app_commands.command(name="stop", description="Stop what the agent is doing in this thread")
@app_commands.guild_only()
async def stop(interaction: discord.Interaction[Any]) -> None:
    """Stop the oldest running turn of the thread."""
    thread_id = thread_of(interaction)
    await respond(
        interaction, lambda front, by: NOT_IN_THREAD if thread_id is None else front.desk.stop(thread_id, by).text
    )


@app_commands.command(name="status", description="Show what the agent is doing in this thread, or everywhere")
@app_commands.guild_only()
async def status(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's state; outside threads the whole bot's."""
    thread_id = thread_of(interaction)
    await respond(interaction, lambda front, _by: front.desk.status(thread_id))


@app_commands.command(name="reset", description="End this thread's agent and start afresh with the next message")
@app_commands.guild_only()
async def reset(interaction: discord.Interaction[Any]) -> None:
    """End the thread's agent and forget its session."""
    thread_id = thread_of(interaction)
    await respond(
        interaction, lambda front, by: NOT_IN_THREAD if thread_id is None else front.desk.reset(thread_id, by).text
    )


def stamp_of(tree: app_commands.CommandTree[Any], application_id: int | None) -> str:
    """Return a hash that changes with the application or with anything that Discord is told about the commands."""
    described = sorted((command.to_dict(tree) for command in tree.get_commands()), key=lambda entry: str(entry["name"]))
    text = json.dumps([application_id, described], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


async def sync_if_changed(tree: app_commands.CommandTree[Any], stamp: CommandStamp, application_id: int | None) -> None:
    """Register the commands unless that was done already; a refusal is logged, since the bot works without them."""
    wanted = stamp_of(tree, application_id)
    if stamp.read() == wanted:
        return
    try:
        await tree.sync()
    except discord.DiscordException as exc:
        log.warning("commands.refused", error=repr(exc))
        return
    stamp.write(wanted)
    log.info("commands.registered", count=len(tree.get_commands()))
