"""What buttons and commands share: who asks, may they, and one ephemeral answer within Discord's three seconds.

The work is synchronous, so the answer is the first thing sent; nothing is deferred.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import discord
import structlog

from bot.chat.authorize import Request, Verdict
from bot.chat.inbound import clip
from bot.work.model import Actor
from bot.work.ports import Desk

log = structlog.get_logger(__name__)

MESSAGE_LIMIT = 2000
FAILED = "Something went wrong on my side; the details are in the log."


class Front(Protocol):
    """What an interaction finds at its client."""

    desk: Desk

    def judge(self, request: Request) -> Verdict:
        """Decide about a request with the policy in force."""


def actor_of(person: discord.abc.User) -> Actor:
    """Return the person as the work knows people; roles are known for members of a server only."""
    roles = frozenset(role.id for role in person.roles) if isinstance(person, discord.Member) else frozenset[int]()
    return Actor(person.id, person.display_name, roles)


def thread_of(interaction: discord.Interaction[Any]) -> int | None:
    """Return the id of the thread in which something was pressed or typed, or None outside threads."""
    return interaction.channel.id if isinstance(interaction.channel, discord.Thread) else None


async def respond(interaction: discord.Interaction[Any], act: Callable[[Front, Actor], str]) -> None:
    """Do what was asked if the person may, and tell only them what came of it."""
    front: Front = interaction.client
    actor = actor_of(interaction.user)
    verdict = front.judge(_request(interaction, actor))
    if not verdict.allowed:
        await tell(interaction, verdict.reason)
        return
    try:
        text = act(front, actor)
    except Exception:
        log.exception("command.failed", interaction=interaction.id)
        text = FAILED
    await tell(interaction, text)


async def tell(interaction: discord.Interaction[Any], text: str) -> None:
    """Send the ephemeral answer; that the person can't be told is logged, not raised."""
    try:
        await interaction.response.send_message(
            clip(text, MESSAGE_LIMIT),
            ephemeral=True,
            suppress_embeds=True,
            allowed_mentions=discord.AllowedMentions.none(),
        )
    except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))


def _request(interaction: discord.Interaction[Any], actor: Actor) -> Request:
    channel = interaction.channel
    return Request(
        guild_id=interaction.guild_id,
        # An unknown channel is none that any list names.
        channel_id=channel.id if channel is not None else 0,
        parent_id=channel.parent_id if isinstance(channel, discord.Thread) else None,
        user_id=actor.id,
        roles=actor.roles,
        automatic=interaction.user.bot,
    )
