"""Slash commands: /stop, /status, /diff, /reset, /new and /queue, in servers only; two other modules have more.

They are answered to the person who asks, but for `/new` and `/queue mode`, which concern everybody in the thread. What
`/stop` and `/status` do, the same words do when they are typed alone; see `bot.chat.answers`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any, Protocol

import discord
import structlog
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE, FAILED
from bot.chat.buttons import WeftButton, on_interaction
from bot.chat.client import WeftClient
from bot.chat.inbound import Command, Decision, Kind, Place, Post, title
from bot.chat.interactions import (
    actor_of,
    choices_of,
    on_unreadable_interaction,
    respond,
    respond_later,
    tell,
    thread_of,
    verdict_on,
)
from bot.chat.permission_commands import inbox, permissions
from bot.chat.rule_commands import audit
from bot.model import Actor, Inbound, QueueMode
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

log = structlog.get_logger(__name__)

NOT_FOR_SERVER = "Only people with the Manage Server permission can choose this for the whole server."
UNKNOWN = "I don't know this command any more. Discord may show an old list; try again in a minute."
WRITE_ON = "Write in the thread what you want done."
AnyCommand = app_commands.Command[Any, ..., None] | app_commands.Group

MODES = {
    QueueMode.QUEUE: "it waits and gets its own turn",
    QueueMode.FOLLOWUP: "it waits and shares one turn with everything else that waits",
    QueueMode.INTERRUPT: "it ends the turn, drops what waits, and runs next",
    QueueMode.STEER: "the running turn gets it right away",
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
        if isinstance(error, app_commands.CommandNotFound):
            await tell(interaction, UNKNOWN)
            return
        log.error("command.failed", interaction=interaction.id, exc_info=error)
        await tell(interaction, FAILED)


def answer_interactions(client: discord.Client) -> WeftTree:
    """Let the client answer commands and buttons, including unknown and unreadable ones; return its commands."""
    client.add_dynamic_items(WeftButton)
    client.event(on_interaction)
    client.event(on_unreadable_interaction)
    tree = WeftTree(client)
    commands: tuple[AnyCommand, ...] = (stop, status, diff, reset, new, queue, permissions, inbox, audit)
    for command in commands:
        tree.add_command(command)
    return tree


@app_commands.command(name="stop", description="Stop what the agent is doing in this thread")
@app_commands.describe(what="turn: what runs now, the rest goes on; all: that and everything that waits")
@app_commands.choices(what=[Choice(name="turn", value="turn"), Choice(name="all", value="all")])
@app_commands.guild_only()
async def stop(interaction: discord.Interaction[Any], what: str = "turn") -> None:
    """Stop the oldest running turn of the thread, or everything that runs and waits there."""
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
        await respond_later(interaction, lambda work: work.diff(thread_id))


@app_commands.command(name="reset", description="End this thread's agent and start afresh with the next message")
@app_commands.guild_only()
async def reset(interaction: discord.Interaction[Any]) -> None:
    """End the thread's agent and forget its session."""
    thread_id = thread_of(interaction)
    await respond(interaction, lambda work, by: work.reset(thread_id, by) if thread_id is not None else ELSEWHERE)


@app_commands.command(name="new", description="Open a thread with an agent, or start afresh in this one")
@app_commands.describe(agent="Which agent; otherwise the usual one", prompt="What you want done")
@app_commands.guild_only()
async def new(interaction: discord.Interaction[Any], agent: str | None = None, prompt: str | None = None) -> None:
    """Open a thread, or begin anew in the one where it is typed, and ask the prompt there.

    The answer is the message that the thread is opened from and that the prompt is known by: from there on it is
    treated like any other message.
    """
    thread_id, text = thread_of(interaction), (prompt or "").strip()

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        answer = dispatcher.renew(thread_id, agent, by)
        if not answer.accepted:
            return answer
        if text:
            return replace(answer, text=f"{answer.text}\n>>> {text}")
        return answer if thread_id is not None else replace(answer, text=f"{answer.text} {WRITE_ON}")

    message_id = await respond(interaction, act, shown=True)
    if message_id is None:
        return
    client: WeftClient = interaction.client
    channel, author = interaction.channel, actor_of(interaction.user)
    if isinstance(channel, discord.Thread):
        place = Place(interaction.guild_id, channel.id, channel.parent_id, channel.owner_id)
    else:
        place = Place(interaction.guild_id, interaction.channel_id or 0)
    inbound = Inbound(
        message_id=message_id,
        channel_id=place.channel_id,
        # A thread opened from a message has the message's id.
        thread_id=message_id if thread_id is None else thread_id,
        guild_id=place.guild_id,
        author=author,
        text=text,
        opens_thread=thread_id is None,
        title=title(text or (f"New conversation with {agent}" if agent else "New conversation")),
        parent_id=place.parent_id,
    )
    # Checked again, without opening anything: the bot may have begun to stop while the answer was sent, and the next
    # run does not look for its own messages.
    now = client.dispatcher.renew(None, agent, author)
    if not now.accepted:
        client.state.answers.post(client.state.chat.refuse, inbound, now.text)
        return
    if thread_id is None and agent is not None:
        client.dispatcher.assign(message_id, agent)  # before the prompt, which starts the agent that its thread has
    if text or thread_id is None:
        client.take(Post(message_id, place, author, text), Decision(Kind.PROMPT, inbound))


@new.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    # Discord asks for these whoever types: a stranger must not learn which agents there are.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.agents()])


queue = app_commands.Group(name="queue", description="What waits in this thread", guild_only=True)


@queue.command(name="show", description="Show what waits in this thread, and by which rules")
async def show(interaction: discord.Interaction[Any]) -> None:
    """Show the thread's queue."""
    thread_id, guild_id = thread_of(interaction), interaction.guild_id
    await respond(
        interaction,
        lambda work, _by: (
            Answer(work.queue(thread_id, guild_id), accepted=True) if thread_id is not None else ELSEWHERE
        ),
    )


@queue.command(name="clear", description="Take out everything that waits in this thread; what runs goes on")
async def clear(interaction: discord.Interaction[Any]) -> None:
    """Empty the thread's queue."""
    thread_id = thread_of(interaction)
    await respond(interaction, lambda work, by: work.clear(thread_id, by) if thread_id is not None else ELSEWHERE)


@queue.command(name="mode", description="Choose what happens to a message that comes while the agent works")
@app_commands.describe(mode="What such a message does", everywhere="For the whole server, not just this thread")
@app_commands.choices(mode=[Choice(name=f"{one}: {does}", value=one.value) for one, does in MODES.items()])
async def choose_mode(interaction: discord.Interaction[Any], mode: str, everywhere: bool = False) -> None:
    """Choose a queue mode; everybody in the thread sees it, since it concerns their messages."""
    place_id = interaction.guild_id if everywhere else thread_of(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if place_id is None:
            return ELSEWHERE
        if everywhere and not (interaction.permissions.manage_guild or by.owner):
            return Answer(NOT_FOR_SERVER, accepted=False)
        return dispatcher.choose_mode(place_id, QueueMode(mode), by, server=everywhere)

    await respond(interaction, act, shown=True)


async def sync_if_changed(tree: app_commands.CommandTree[Any], stamp: CommandStamp, application_id: int | None) -> None:
    """Register the commands if their description for Discord differs from what was registered last."""
    described = sorted((command.to_dict(tree) for command in tree.get_commands()), key=lambda entry: str(entry["name"]))
    text = json.dumps([application_id, described], sort_keys=True, default=str)
    wanted = hashlib.sha256(text.encode()).hexdigest()
    # Registrations are few a day: a bot that restarts again and again would use them up.
    if stamp.read() == wanted:
        return
    try:
        await tree.sync()
    except discord.DiscordException as exc:
        # Not raised: messages and buttons work without commands, and Discord keeps the last list.
        log.warning("commands.refused", error=repr(exc))
        return
    stamp.write(wanted)
    log.info("commands.registered", count=len(tree.get_commands()))
