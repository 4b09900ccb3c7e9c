"""Slash commands: /stop, /status, /reset, /new and /queue, in servers only, answered to the one who asks.

What `/stop` and `/status` do, the same words do when they are typed alone; `carry_out` serves both. `/new` is
`bot.chat.fresh`'s. The commands are registered with Discord only when they differ from what was registered last:
registrations are few a day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol

import discord
import structlog
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.asking import FAILED, Front, respond, tell, thread_of
from bot.chat.fresh import new
from bot.chat.words import Command
from bot.model import Actor, QueueMode
from bot.work.ports import Answer, Desk

log = structlog.get_logger(__name__)

NOT_IN_THREAD = "Use this in the thread that it is about."
NOT_FOR_SERVER = "Only somebody with the permission Manage Server may choose this for the whole server."
UNKNOWN = "I don't know this command any more. Discord may show an old list; try again in a minute."

ELSEWHERE = Answer(NOT_IN_THREAD, accepted=False)
MODES = {
    QueueMode.QUEUE: "it waits, and gets a turn of its own",
    QueueMode.FOLLOWUP: "it waits, and gets one turn together with what else waits",
    QueueMode.INTERRUPT: "it ends the turn and what waits, and runs next",
    QueueMode.STEER: "it is said into the running turn",
}


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
    commands: tuple[app_commands.Command[Any, ..., None] | app_commands.Group, ...] = (stop, status, reset, new, queue)
    for command in commands:
        tree.add_command(command)
    return tree


def carry_out(command: Command, desk: Desk, thread_id: int | None, by: Actor, asked: int) -> Answer:
    """Do what was asked for, typed or as a slash command; ``asked``: the snowflake of the asking."""
    if command is Command.STATUS:
        return Answer(desk.status(thread_id), accepted=True)
    if thread_id is None:
        return ELSEWHERE
    if command is Command.STOP_ALL:
        return desk.stop_all(thread_id, by, asked)
    # A catch-up may come upon the word when newer messages have begun: it is not about them.
    return desk.stop(thread_id, by, before=asked)


@app_commands.command(name="stop", description="Stop what the agent is doing in this thread")
@app_commands.describe(what="turn: what runs now, the rest goes on; all: that and everything that waits")
@app_commands.choices(what=[Choice(name="turn", value="turn"), Choice(name="all", value="all")])
@app_commands.guild_only()
async def stop(interaction: discord.Interaction[Any], what: str = "turn") -> None:
    """Stop the oldest running turn of the thread, or all that runs and waits there."""
    command = Command.STOP_ALL if what == "all" else Command.STOP
    thread_id = thread_of(interaction)
    await respond(interaction, lambda front, by: carry_out(command, front.desk, thread_id, by, interaction.id))


@app_commands.command(name="status", description="Show what the agent is doing in this thread, or everywhere")
@app_commands.guild_only()
async def status(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's state; outside threads the whole bot's."""
    thread_id = thread_of(interaction)
    await respond(interaction, lambda front, by: carry_out(Command.STATUS, front.desk, thread_id, by, interaction.id))


@app_commands.command(name="reset", description="End this thread's agent and start afresh with the next message")
@app_commands.guild_only()
async def reset(interaction: discord.Interaction[Any]) -> None:
    """End the thread's agent and forget its session."""
    await _in_thread(interaction, lambda desk, thread_id, by: desk.reset(thread_id, by))


queue = app_commands.Group(name="queue", description="What waits in this thread", guild_only=True)


@queue.command(name="show", description="Show what waits in this thread, and by which rules")
async def show(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's queue."""
    guild_id = interaction.guild_id
    await _in_thread(interaction, lambda desk, thread_id, _by: Answer(desk.queue(thread_id, guild_id), accepted=True))


@queue.command(name="clear", description="Take out everything that waits in this thread; what runs goes on")
async def clear(interaction: discord.Interaction[Any]) -> None:
    """Empty the thread's queue."""
    await _in_thread(interaction, lambda desk, thread_id, by: desk.clear(thread_id, by))


@queue.command(name="mode", description="Choose what a message does that comes while the agent is at work")
@app_commands.describe(mode="What such a message does", everywhere="For the whole server, not only for this thread")
@app_commands.choices(mode=[Choice(name=f"{one}: {does}", value=one.value) for one, does in MODES.items()])
async def choose_mode(interaction: discord.Interaction[Any], mode: str, everywhere: bool = False) -> None:
    """Choose a queue mode; everybody in the thread is told, since it is their messages that it is about."""
    place_id = interaction.guild_id if everywhere else thread_of(interaction)

    def act(front: Front, by: Actor) -> Answer:
        if place_id is None:
            return ELSEWHERE
        if everywhere and not _rules(interaction, front):
            return Answer(NOT_FOR_SERVER, accepted=False)
        return front.desk.choose_mode(place_id, QueueMode(mode), by, server=everywhere)

    await respond(interaction, act, shown=True)


def _rules(interaction: discord.Interaction[Any], front: Front) -> bool:
    """Return whether the person may decide for the whole server."""
    return interaction.permissions.manage_guild or interaction.user.id in front.policy.owners


async def _in_thread(interaction: discord.Interaction[Any], act: Callable[[Desk, int, Actor], Answer]) -> None:
    thread_id = thread_of(interaction)
    await respond(interaction, lambda front, by: ELSEWHERE if thread_id is None else act(front.desk, thread_id, by))


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
