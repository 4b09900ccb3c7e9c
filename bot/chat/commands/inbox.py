"""`/inbox`: what waits for whoever asks, and what ended while they were away, in all threads of a server."""

from __future__ import annotations

import time
from typing import Any

import anyio
import discord
from discord import app_commands

from bot.chat.authorize import Purpose
from bot.chat.client import WeftClient
from bot.chat.interactions import asker_of, respond, verdict_on
from bot.chat.questions_here import LOOK_LIMIT, look_at, questions_for, stands_open
from bot.reply.port import MESSAGE_LIMIT, Button
from bot.reply.render import coarse
from bot.reply.sanitise import inline_code, units
from bot.work.attention.inbox import Unread
from bot.work.ports import Answer

ALL_QUIET = "Nothing is waiting for you."
MORE = "-# and {count} more"
MOST_LOOKED_AT = 25
"""Threads whose ends are listed: each may take a look in Discord whether the person still sees it."""
_WHAT_LIMIT = 80


@app_commands.command(
    name="inbox", description="Show what waits for your answer, what failed, and what finished unread in this server"
)
@app_commands.guild_only()
async def inbox(interaction: discord.Interaction[Any]) -> None:
    """List the questions that wait for whoever asks, then failures and answers, those that wait longest first."""
    allowed = verdict_on(interaction, Purpose.DECIDE).allowed
    # By the clock of what is listed, and not by the message: the list may take the place of an older answer.
    listed_at = int(interaction.client.dispatcher.inbox.now() * 1000)
    asked = [one for one in await questions_for(interaction) if not one.agreed] if allowed else []
    ended, more = await _ended_for(interaction) if allowed else ([], 0)
    client: WeftClient = interaction.client
    redact = client.state.redactor.text

    def what(text: str) -> str:
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        return inline_code(redact(text), _WHAT_LIMIT)

    def on(end: Unread) -> str:
        project = client.dispatcher.thread_settings.project_name(end.place.thread_id)
        return f" in {inline_code(project)}" if project is not None else ""

    lines = _listed(
        "**Waiting for your answer**", [f"{coarse(one.waited)}: {what(one.what)} {one.link}" for one in asked]
    )
    for head, failed in (("**Failed or not run**", True), ("**Finished since you were last there**", False)):
        ends = [one for one in ended if one.failed is failed]
        ago = [f"{coarse(time.time() - one.at)} ago{on(one)}: {what(one.gist)} {one.link}" for one in ends]
        lines += _listed(head, ago)
    clear = Button(f"weft:inbox:{listed_at}", "Clear", "secondary")
    answer = Answer(fitting(lines, more) if lines else ALL_QUIET, accepted=True, buttons=(clear,) if ended else ())
    await respond(interaction, lambda _work, _by: answer, purpose=Purpose.DECIDE)


def _listed(head: str, found: list[str]) -> list[str]:
    return [head, *(f"- {one}" for one in found)] if found else []


async def _ended_for(interaction: discord.Interaction[Any]) -> tuple[list[Unread], int]:
    """Return what ended unread in threads that whoever asks may see now, and how many were not looked at."""
    client: WeftClient = interaction.client
    by = asker_of(interaction)
    unread = client.dispatcher.inbox.unread(by.id, interaction.guild_id)
    found, visible = [one for one in unread if stands_open(interaction, by, one.place)], set[int]()
    latest = anyio.current_time() + LOOK_LIMIT
    while True:
        looked_at = found[:MOST_LOOKED_AT]
        unknown = {one.place.thread_id for one in looked_at} - visible
        seen, gone = await look_at(interaction, unknown, latest - anyio.current_time())
        visible |= seen
        # Nobody can go and read what ended there: it would only keep others from being looked at.
        for thread_id in gone:
            client.dispatcher.inbox.seen(thread_id, by.id)
        found = [one for one in found if one.place.thread_id not in gone]
        if not gone:
            break
    return [one for one in looked_at if one.place.thread_id in visible], len(found) - len(looked_at)


def fitting(lines: list[str], more: int = 0) -> str:
    """Return as many of the lines as a message has room for, and how many there are besides, with ``more``."""
    room, kept = MESSAGE_LIMIT - units(MORE.format(count=len(lines) + more)) - 1, 0
    while kept < len(lines) and (room := room - units(lines[kept]) - 1) >= 0:
        kept += 1
    # Without the headings.
    left = sum(not line.startswith("**") for line in lines[kept:]) + more
    return "\n".join([*lines[:kept], *([MORE.format(count=left)] if left else [])])
