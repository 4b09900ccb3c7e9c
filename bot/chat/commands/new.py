"""`/new`: another thread, or another conversation in this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.client import WeftClient
from bot.chat.commands.prompting import may_begin, place_of
from bot.chat.inbound import Decision, Kind, Post, title
from bot.chat.interactions import actor_of, choices_of, respond, thread_of, verdict_on
from bot.model import Actor, Attachment, Inbound
from bot.reply.sanitise import inline_code
from bot.reply.title import TITLE_LIMIT
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

WRITE_ON = "Write in the thread what you want done."
NO_TITLE = "This thread already has a name. Use `/new` in the channel for a new thread, or rename this one in Discord."
_NAME_LIMIT = 60


@app_commands.command(name="new", description="Open a thread with an agent, or start afresh in this one")
@app_commands.describe(
    agent="Which agent; by default the usual one",
    project="The project to work on; by default the channel's",
    prompt="What you want done",
    name="The name of the new thread",
    file="A file for the agent",
    file2="Another file",
    file3="Another file",
    file4="Another file",
    file5="Another file",
)
@app_commands.rename(name="title")
@app_commands.guild_only()
async def new(
    interaction: discord.Interaction[Any],
    agent: str | None = None,
    project: str | None = None,
    prompt: str | None = None,
    name: app_commands.Range[str, 1, TITLE_LIMIT] | None = None,
    file: discord.Attachment | None = None,
    file2: discord.Attachment | None = None,
    file3: discord.Attachment | None = None,
    file4: discord.Attachment | None = None,
    file5: discord.Attachment | None = None,
) -> None:
    """Open a thread, or begin anew in the one where it is typed, and ask the prompt there.

    The answer is the message that the thread is opened from and that the prompt is known by: from there on it is
    treated like any other message.
    """
    thread_id, text = thread_of(interaction), (prompt or "").strip()
    given = [one for one in (file, file2, file3, file4, file5) if one is not None]

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        # Before anything is given up: whoever names a thread did not mean the conversation of this one.
        if thread_id is not None and name is not None:
            return Answer(NO_TITLE, accepted=False)
        answer = dispatcher.controls.renew(thread_id, agent, by, project)
        nothing_to_do = thread_id is None and not text and not given
        return _worded(answer, text, given, nothing_to_do=nothing_to_do) if answer.accepted else answer

    message_id = await respond(interaction, act, shown=True)
    if message_id is None:
        return
    client: WeftClient = interaction.client
    place, author = place_of(interaction), actor_of(interaction.user)
    files = tuple(_attachment(one, place.channel_id, message_id) for one in given)
    what = text or "\n".join(one.name for one in files) or (f"New conversation with {agent}" if agent else "")
    inbound = Inbound(
        message_id=message_id,
        channel_id=place.channel_id,
        # A thread opened from a message has the message's id.
        thread_id=message_id if thread_id is None else thread_id,
        guild_id=place.guild_id,
        author=author,
        text=text,
        opens_thread=thread_id is None,
        title=title(name or what or "New conversation"),
        files=len(files),
        parent_id=place.parent_id,
        attachments=files,
    )
    if not may_begin(client, inbound, agent):
        return
    if thread_id is None and (agent is not None or project is not None):
        # Before the prompt, which starts the agent that its thread has.
        client.dispatcher.controls.assign(message_id, place.parent_id or place.channel_id, agent, project)
    if name is not None:
        client.dispatcher.controls.keep_name(message_id)
    if text or files or thread_id is None:
        client.take(Post(message_id, place, author, text, attachments=files), Decision(Kind.PROMPT, inbound))


def _worded(answer: Answer, text: str, given: Sequence[discord.Attachment], *, nothing_to_do: bool) -> Answer:
    """Return the answer with what was asked for below it; everybody reads it, and the thread begins with it."""
    lines = [f"{answer.text} {WRITE_ON}" if nothing_to_do else answer.text]
    if given:
        lines.append(f"-# With {', '.join(inline_code(one.filename, _NAME_LIMIT) for one in given)}")
    # Last: a quotation of this kind goes on to the end of the message.
    return replace(answer, text="\n".join([*lines, *([f">>> {text}"] if text else [])]))


def _attachment(given: discord.Attachment, channel_id: int, message_id: int) -> Attachment:
    """Return a file of the command as one of its answer, by which the prompt is known.

    The answer itself has no files: once the address has expired, nobody has another one.
    """
    return Attachment(given.id, given.filename, given.size, given.content_type or "", given.url, channel_id, message_id)


@new.autocomplete("project")
async def suggest_project(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the projects whose names have what was typed in them."""
    # As below: which projects there are is nothing for strangers either.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.controls.project_names()])


@new.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    # Discord asks for these whoever types: a stranger must not learn which agents there are.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.controls.agents()])
