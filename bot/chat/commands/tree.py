"""Registers the slash commands with Discord, and answers those that it still shows and that are gone.

Their answers go to the person who asks, but for what concerns everybody in the thread.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

import discord
import structlog
from discord import app_commands

from bot.chat.answers import FAILED
from bot.chat.buttons import WeftButton, on_interaction
from bot.chat.commands.agent import agent
from bot.chat.commands.board import board
from bot.chat.commands.control import diff, reset, status, stop
from bot.chat.commands.help import DIRECT, help_on
from bot.chat.commands.inbox import inbox
from bot.chat.commands.login import login, logout
from bot.chat.commands.new import new
from bot.chat.commands.notify import notify
from bot.chat.commands.options import effort, mode, model, options
from bot.chat.commands.permissions import permissions
from bot.chat.commands.projects import commit, merge, pr, worktrees
from bot.chat.commands.queue import queue
from bot.chat.commands.rules import audit
from bot.chat.commands.schedules import schedule, schedules
from bot.chat.commands.sessions import fork, sessions
from bot.chat.commands.transcripts import export, handoff
from bot.chat.commands.verbosity import verbosity
from bot.chat.interactions import on_unreadable_interaction, tell
from bot.chat.selects import WeftSelect

log = structlog.get_logger(__name__)

UNKNOWN = "I don't know this command any more. Discord may show an old list; try again in a minute."
AnyCommand = app_commands.Command[Any, ..., None] | app_commands.Group

COMMANDS: tuple[AnyCommand, ...] = (
    stop,
    status,
    diff,
    export,
    handoff,
    reset,
    new,
    queue,
    verbosity,
    permissions,
    inbox,
    notify,
    audit,
    agent,
    login,
    logout,
    board,
    model,
    mode,
    effort,
    options,
    sessions,
    fork,
    schedule,
    schedules,
    commit,
    merge,
    pr,
    worktrees,
)

IN_SERVERS, IN_DIRECT_MESSAGES = (0,), (1,)
"""Where a command may be used, in Discord's numbers."""


class CommandStamp(Protocol):
    """Keeps, over restarts, which set of commands was registered last."""

    def read(self) -> str | None:
        """Return what was written last, if anything."""

    def write(self, stamp: str) -> None:
        """Keep ``stamp``."""


class WeftTree(app_commands.CommandTree[Any]):
    """The commands; errors end in an answer and a log line."""

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError, /) -> None:
        if isinstance(error, app_commands.CommandNotFound):
            await tell(interaction, UNKNOWN)
            return
        log.error("command.failed", interaction=interaction.id, exc_info=error)
        await tell(interaction, FAILED)


def answer_interactions(client: discord.Client) -> WeftTree:
    """Let the client answer commands and buttons, including unknown and unreadable ones; return its commands."""
    client.add_dynamic_items(WeftButton, WeftSelect)
    client.event(on_interaction)
    client.event(on_unreadable_interaction)
    tree = WeftTree(client)
    # The help comes last, as it lists the others.
    for command in (*COMMANDS, help_on([command.name for command in COMMANDS])):
        tree.add_command(command)
    return tree


async def sync_if_changed(tree: app_commands.CommandTree[Any], stamp: CommandStamp, *, direct: bool = False) -> None:
    """Register the commands if their description for Discord differs from what was registered last.

    Args:
        direct: Weft takes direct messages, so that some commands are offered there, too.
    """
    application_id = tree.client.application_id
    described = [command.to_dict(tree) for command in tree.get_commands()]
    for command in described if direct else ():
        if command["name"] in DIRECT:
            command["contexts"], command["dm_permission"] = [*IN_SERVERS, *IN_DIRECT_MESSAGES], True
    # In a fixed order, so that moving a command in the code registers nothing anew; and with the application, as
    # a state may be taken over by another one.
    in_order = sorted(described, key=lambda entry: str(entry["name"]))
    text = json.dumps([application_id, in_order], sort_keys=True, default=str)
    wanted = hashlib.sha256(text.encode()).hexdigest()
    # Registrations are few a day: a bot that restarts again and again would use them up.
    if stamp.read() == wanted:
        return
    try:
        # Not `tree.sync`, which describes them as they are made, and they are made once for all bots of a process.
        await tree.client.http.bulk_upsert_global_commands(application_id or 0, payload=described)
    except discord.DiscordException as exc:
        # Not raised: messages and buttons work without commands, and Discord keeps the last list.
        log.warning("commands.refused", error=repr(exc))
        return
    # Not before: what Discord did not take is tried again by the next connection.
    stamp.write(wanted)
    log.info("commands.registered", count=len(tree.get_commands()))
