"""Which of the questions that wait somebody may look at: who can't see a thread learns nothing of it."""

from __future__ import annotations

from typing import Any

import aiohttp
import anyio
import discord

from bot.chat.authorize import Purpose, Request, authorize
from bot.chat.client import WeftClient
from bot.chat.interactions import asker_of
from bot.model import Actor, ThreadPlace
from bot.work.asked import Asked

LOOK_LIMIT = 1.0
"""Seconds that Discord has to tell of private threads: an answer is due within three."""


async def questions_for(interaction: discord.Interaction[Any]) -> list[Asked]:
    """Return what whoever asks may decide, in threads of this server that they may see now."""
    client: WeftClient = interaction.client
    by = asker_of(interaction)
    asked = [one for one in client.dispatcher.asked_of(by) if _stands_open(interaction, by, one.place)]
    visible: set[int] = set()

    async def look(thread_id: int) -> None:
        if await _may_enter(interaction, thread_id):
            visible.add(thread_id)

    # What Discord does not tell of in time is left out.
    with anyio.move_on_after(LOOK_LIMIT):
        async with anyio.create_task_group() as looks:
            for thread_id in {one.place.thread_id for one in asked}:
                looks.start_soon(look, thread_id)
    return [one for one in asked if one.place.thread_id in visible]


def _stands_open(interaction: discord.Interaction[Any], by: Actor, place: ThreadPlace) -> bool:
    """Return whether a thread is in this server, in a channel that the person sees and may decide in."""
    client, guild = interaction.client, interaction.guild
    assert isinstance(client, WeftClient)
    parent = guild.get_channel(place.parent_id) if guild is not None and place.parent_id is not None else None
    if parent is None or place.guild_id != interaction.guild_id or not isinstance(interaction.user, discord.Member):
        return False
    request = Request(place.guild_id, place.thread_id, place.parent_id, by.id, by.roles, interaction.user.bot)
    sees = parent.permissions_for(interaction.user).view_channel
    return sees and authorize(request, client.policy, Purpose.DECIDE).allowed


async def _may_enter(interaction: discord.Interaction[Any], thread_id: int) -> bool:
    """Return whether a thread whose channel the person sees is public, or they are a member of it."""
    if interaction.channel is not None and interaction.channel.id == thread_id:
        return True
    client, guild = interaction.client, interaction.guild
    try:
        thread = guild.get_thread(thread_id) if guild is not None else None
        found = thread or await client.fetch_channel(thread_id)  # in no cache: an archived one
        if found.type is discord.ChannelType.private_thread:
            await client.http.get_thread_member(thread_id, interaction.user.id)
    except (discord.DiscordException, aiohttp.ClientError, OSError):
        return False
    return True
