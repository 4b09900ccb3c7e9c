"""`/sessions` and `/fork`: going on with a session in a new thread, or with a copy of this thread's.

A list goes to the person who asks, with what they may see only: nobody learns of a thread by its session. What its
buttons stand for is remembered for a while and in this run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.client import WeftClient
from bot.chat.inbound import Decision, Kind, Place, Post
from bot.chat.interactions import (
    actor_of,
    agent_place,
    asker_of,
    choices_of,
    respond,
    respond_later,
    thread_of,
    verdict_on,
)
from bot.chat.questions_here import any_private, seen_by
from bot.reply.port import Button
from bot.reply.sanitise import inline_code
from bot.reply.title import title_of
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer, Where
from bot.work.sessions.catalogue import Catalogue, Entry, ShownList
from bot.work.sessions.opening import Opening

PAGE = 5
"""Sessions at once: what a phone shows, and the buttons of one row."""

MOST_LOOKS = 60
"""Threads of which Discord is asked whether somebody may see them, for one list."""

_LOOK_LIMIT = 5.0
_AT_ONCE = 10
_TITLE_LIMIT, _PLACE_LIMIT = 60, 48

NONE_FOUND = "There are no sessions to go on with."
LEFT_OUT = "Older ones are left out."
PRIVATE = Answer("This conversation is from a private thread, and the new thread would not be private.", accepted=False)
NO_CHANNEL = Answer("I can only open a thread for this in text channels and forums.", accepted=False)
UNKNOWN_AGENT = "There is no agent {agent}, only {names}."
EXPIRED = Answer("This list has expired. Use `/sessions` again.", accepted=False)


@app_commands.command(name="sessions", description="Show the agent's sessions, and go on with one in a new thread")
@app_commands.describe(agent="Which agent; by default that of this thread or channel")
@app_commands.guild_only()
async def sessions(interaction: discord.Interaction[Any], agent: str | None = None) -> None:
    """List the sessions that whoever asks may see, the latest first."""

    async def look(dispatcher: Dispatcher) -> Answer:
        settings = dispatcher.thread_settings
        if agent is not None and agent not in settings.agents:
            names = ", ".join(inline_code(known) for known in settings.agents.names)
            return Answer(UNKNOWN_AGENT.format(agent=inline_code(agent), names=names), accepted=False)
        wanted = agent or settings.agent_of(agent_place(interaction, dispatcher))
        # The command's own id stands for the agent: no place has it.
        catalogue = await dispatcher.sessions.catalogues.look(wanted, interaction.id)
        visible = await _visible(interaction, catalogue)
        shown = dispatcher.sessions.catalogues.show(interaction.user.id, interaction.channel_id or 0, visible)
        return _page(interaction, shown, 0)

    await respond_later(interaction, look)


@sessions.autocomplete("agent")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the agents whose names have what was typed in them."""
    # Discord asks for these whoever types: a stranger must not learn which agents there are.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, [(name, name) for name in client.dispatcher.controls.agents()])


@app_commands.command(name="fork", description="Open a new thread with a copy of this conversation")
@app_commands.describe(prompt="What you want done there")
@app_commands.guild_only()
async def fork(interaction: discord.Interaction[Any], prompt: str | None = None) -> None:
    """Copy the thread's session as it is now, and go on with the copy in a new thread."""
    thread_id, where = thread_of(interaction), _where(interaction)
    if thread_id is None:
        await respond(interaction, lambda _work, _by: ELSEWHERE)
        return
    if isinstance(where, Answer):
        await respond(interaction, lambda _work, _by: where)
        return
    by, text = actor_of(interaction.user), (prompt or "").strip()
    name = interaction.channel.name if isinstance(interaction.channel, discord.Thread) else ""

    async def copy(dispatcher: Dispatcher) -> Answer:
        openings = dispatcher.sessions.openings
        title = title_of(text) or title_of(f"Copy of {name}")
        rights = asker_of(interaction)
        opened = await openings.copy(interaction.id, thread_id, text, title, where, by, rights=rights)
        return await _handed_over(interaction, dispatcher, opened)

    await respond_later(interaction, copy)


async def on_list_press(interaction: discord.Interaction[Any], named: re.Match[str]) -> None:
    """Do what a button below a list stands for: turn the page, or open a session in a new thread."""
    client: WeftClient = interaction.client
    shown = client.dispatcher.sessions.catalogues.shown.get(named["list"])
    # Somebody else's list, or in another place: a custom_id can be forged.
    if shown is None or (shown.by, shown.place_id) != (interaction.user.id, interaction.channel_id):
        await respond(interaction, lambda _work, _by: EXPIRED)
        return
    if named["list_page"]:
        page = int(named["list_page"])
        await respond(interaction, lambda _work, _by: _page(interaction, shown, page))
        return
    number, where = int(named["entry"]), _where(interaction)
    entries = shown.catalogue.entries
    # Forged as well: the list has no such button.
    if number >= len(entries) or not shown.catalogue.openable:
        await respond(interaction, lambda _work, _by: EXPIRED)
        return
    if isinstance(where, Answer):
        await respond(interaction, lambda _work, _by: where)
        return
    entry, by = entries[number], actor_of(interaction.user)

    async def open_it(dispatcher: Dispatcher) -> Answer:
        # Looked at again: where it was and what they may see may have changed since the list was shown.
        threads = await dispatcher.sessions.catalogues.whose(entry)
        if not threads <= await seen_by(interaction, threads, _LOOK_LIMIT):
            return EXPIRED
        # What was said among a few is not for all who see the new thread.
        if await any_private(interaction, threads, _LOOK_LIMIT):
            return PRIVATE
        agent, title, rights = shown.catalogue.agent, title_of(entry.title) or "Session", asker_of(interaction)
        opened = await dispatcher.sessions.openings.open_listed(
            interaction.id, agent, entry, title, where, by, rights=rights
        )
        return await _handed_over(interaction, dispatcher, opened)

    await respond_later(interaction, open_it)


async def _handed_over(
    interaction: discord.Interaction[Any], dispatcher: Dispatcher, opened: Opening | Answer
) -> Answer:
    """Hand the prompt of a new thread over like any message, and say where the thread is."""
    if isinstance(opened, Answer):
        return opened
    client, inbound = interaction.client, opened.inbound
    assert isinstance(client, WeftClient)
    owner_id = client.user.id if client.user is not None and inbound.parent_id is not None else None
    place = Place(inbound.guild_id, inbound.channel_id, inbound.parent_id, owner_id)
    # In this order: the claim is what brings the prompt back after a kill, until it is written down itself.
    client.take(Post(inbound.message_id, place, inbound.author, inbound.text), Decision(Kind.PROMPT, inbound))
    await dispatcher.sessions.openings.finish(opened)
    return Answer(f"Go on in <#{inbound.thread_id}>. {opened.note}".strip(), accepted=True)


# --- where -----------------------------------------------------------------------------------------------------------


def _channel_of(interaction: discord.Interaction[Any]) -> int:
    """Return the channel, or that of the thread, in which something was pressed or typed."""
    channel = interaction.channel
    return channel.parent_id if isinstance(channel, discord.Thread) else interaction.channel_id or 0


def _where(interaction: discord.Interaction[Any]) -> Where | Answer:
    """Return where a new thread is to be opened, or why none can be."""
    client, channel, guild = interaction.client, interaction.channel, interaction.guild
    assert isinstance(client, WeftClient)
    if isinstance(channel, discord.Thread) and channel.is_private():
        return PRIVATE
    parent = guild.get_channel(_channel_of(interaction)) if guild is not None else None
    if guild is None or client.user is None or not isinstance(parent, discord.TextChannel | discord.ForumChannel):
        return NO_CHANNEL
    return Where(guild.id, parent.id, client.user.id, forum=isinstance(parent, discord.ForumChannel))


# --- the list --------------------------------------------------------------------------------------------------------


async def _visible(interaction: discord.Interaction[Any], catalogue: Catalogue) -> Catalogue:
    """Return what of a list whoever asks may see: nothing of a session that is or was in a thread hidden from them."""
    kept: list[Entry] = []
    looked: set[int] = set()
    visible: set[int] = set()
    entries, notes = list(catalogue.entries), catalogue.notes
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        # A few at a time, each thread once: the bound is on questions to Discord, not on entries.
        unknown = _threads(some) - looked
        if len(looked) + len(unknown) > MOST_LOOKS:
            notes = (*notes, LEFT_OUT)
            break
        visible |= await seen_by(interaction, unknown, _LOOK_LIMIT)
        looked |= unknown
        kept += [one for one in some if one.threads <= visible]
    return replace(catalogue, entries=tuple(kept), notes=notes)


def _threads(entries: Iterable[Entry]) -> set[int]:
    return {thread_id for one in entries for thread_id in one.threads}


def _page(interaction: discord.Interaction[Any], shown: ShownList, page: int) -> Answer:
    """Return a page of a list, with a button for each session."""
    client: WeftClient = interaction.client
    redact, catalogue = client.state.redactor.text, shown.catalogue
    several = client.dispatcher.thread_settings.agents.chosen
    entries = catalogue.entries[page * PAGE : (page + 1) * PAGE]
    head = f"**Sessions of {inline_code(catalogue.agent, 32)}**" if several else "**Sessions**"
    lines, buttons = [head if entries else NONE_FOUND], []
    for number, entry in enumerate(entries, page * PAGE):
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        named = inline_code(redact(entry.title), _TITLE_LIMIT) if entry.title else "untitled"
        when = f" · <t:{int(entry.at)}:R>" if entry.at is not None and 0 < entry.at < _FAR else ""
        place = f" · <#{entry.thread_id}>" if entry.thread_id is not None else ""
        directory = f" · {inline_code(redact(entry.cwd), _PLACE_LIMIT)}" if entry.cwd else ""
        lines.append(f"{number + 1}. {named}{when}{place}{directory}")
        if entry.thread_id is not None:
            link = f"https://discord.com/channels/{interaction.guild_id}/{entry.thread_id}"
            buttons.append(Button("", f"Open {number + 1}", row=0, url=link))
        elif catalogue.openable:
            buttons.append(
                Button(f"weft:list:{shown.token}:open-{number}", f"Open {number + 1} here", "primary", row=0)
            )
    pages = -(-len(catalogue.entries) // PAGE)
    if page > 0:
        buttons.append(Button(f"weft:list:{shown.token}:page-{page - 1}", "Newer", row=1))
    if page + 1 < pages:
        buttons.append(Button(f"weft:list:{shown.token}:page-{page + 1}", "Older", row=1))
    lines += [f"-# {note}" for note in catalogue.notes]
    return Answer("\n".join(lines), accepted=True, buttons=tuple(buttons))


_FAR = 32_503_680_000
"""The year 3000, in seconds since the epoch: Discord shows no time beyond some bound."""
