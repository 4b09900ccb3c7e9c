"""Which questions and decisions somebody may look at: who can't see a thread learns nothing of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiohttp
import anyio
import discord

from bot.chat.authorize import Purpose, Request, authorize
from bot.chat.client import WeftClient
from bot.chat.interactions import asker_of
from bot.model import Actor, ThreadPlace
from bot.work.permissions.waiting import Asked

LOOK_LIMIT = 1.0
"""Seconds that Discord has to tell of private threads: an answer is due within three."""


async def questions_for(interaction: discord.Interaction[Any]) -> list[Asked]:
    """Return what whoever asks may decide, in threads of this server that they may see now."""
    client: WeftClient = interaction.client
    by = asker_of(interaction)
    asked = [one for one in client.dispatcher.asked_of(by) if stands_open(interaction, by, one.place)]
    visible = await seen_by(interaction, {one.place.thread_id for one in asked}, LOOK_LIMIT)
    return [one for one in asked if one.place.thread_id in visible]


async def seen_by(interaction: discord.Interaction[Any], place_ids: Iterable[int], limit: float) -> set[int]:
    """Return which of some threads and channels whoever asks may see now; of those not told in time, nothing."""
    return (await look_at(interaction, place_ids, limit))[0]


async def look_at(
    interaction: discord.Interaction[Any], place_ids: Iterable[int], limit: float
) -> tuple[set[int], set[int]]:
    """Return as `seen_by` does, and which of them there are no longer, or never were."""
    visible: set[int] = set()
    gone: set[int] = set()

    async def look(place_id: int) -> None:
        try:
            if await _may_enter(interaction, place_id):
                visible.add(place_id)
        except discord.NotFound:
            gone.add(place_id)

    # What Discord has not told by then stays hidden: nobody learns of a thread because Discord was slow.
    with anyio.move_on_after(limit):
        async with anyio.create_task_group() as looks:
            for place_id in place_ids:
                looks.start_soon(look, place_id)
    return visible, gone


async def any_private(interaction: discord.Interaction[Any], place_ids: Iterable[int], limit: float) -> bool:
    """Return whether any of some threads and channels is a private thread, or can't be looked at in time."""
    client, guild = interaction.client, interaction.guild
    try:
        with anyio.fail_after(limit):
            for place_id in place_ids:
                known = guild.get_channel_or_thread(place_id) if guild is not None else None
                found = known or await client.fetch_channel(place_id)  # an archived one
                if found.type is discord.ChannelType.private_thread:
                    return True
    except (TimeoutError, discord.DiscordException, aiohttp.ClientError, OSError):
        # Private unless known otherwise.
        return True
    return False


def stands_open(interaction: discord.Interaction[Any], by: Actor, place: ThreadPlace) -> bool:
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
    """Return whether a person sees a channel, or that of a thread that is public or has them as a member.

    Raises:
        discord.NotFound: there is no such channel or thread.
    """
    if interaction.channel is not None and interaction.channel.id == thread_id:
        # Discord let them type here, so they see it.
        return True
    client, guild = interaction.client, interaction.guild
    if guild is None or not isinstance(interaction.user, discord.Member):
        return False
    try:
        found = guild.get_channel_or_thread(thread_id) or await client.fetch_channel(thread_id)  # an archived one
    except discord.NotFound:
        raise
    except (discord.DiscordException, aiohttp.ClientError, OSError):
        return False
    channel = guild.get_channel(found.parent_id) if isinstance(found, discord.Thread) else found
    if not isinstance(channel, discord.abc.GuildChannel) or channel.guild.id != guild.id:
        return False
    if not channel.permissions_for(interaction.user).view_channel:
        return False
    if found.type is discord.ChannelType.private_thread:
        try:
            await client.http.get_thread_member(thread_id, interaction.user.id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return False  # they are no member, or nobody knows
    return True
