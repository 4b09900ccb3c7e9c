"""What buttons and commands share: who asks, may they, and an answer within Discord's three seconds.

The work is synchronous, so the answer is the first thing sent; nothing is deferred. A promise that has to outlive the
process waits a moment until it is written down. The answer is for the one who asks only, unless it concerns everybody
in the thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import aiohttp
import anyio
import discord
import structlog

from bot.chat.authorize import Policy, Request, Verdict
from bot.chat.inbound import clip
from bot.model import Actor
from bot.work.ports import Answer, Desk

log = structlog.get_logger(__name__)

MESSAGE_LIMIT = 2000
NOBODY = discord.AllowedMentions.none()
QUIETLY: dict[str, Any] = {"suppress_embeds": True, "allowed_mentions": NOBODY}
SAVE_LIMIT = 1.5
"""Seconds that an answer waits until what it promises is written down; Discord waits three for the answer."""

NOT_SAVED = "-# It holds from now on, but is not saved yet: should Weft restart in the next minutes, ask once more."
_LOST = (discord.DiscordException, aiohttp.ClientError, OSError)
FAILED = "Something went wrong on my side; the details are in the log."


class Front(Protocol):
    """What an interaction finds at its client."""

    desk: Desk
    policy: Policy

    def judge(self, request: Request) -> Verdict:
        """Decide about a request with the policy in force."""


def actor_of(person: discord.abc.User) -> Actor:
    """Return the person as the work knows people; roles are known for members of a server only."""
    roles = frozenset(role.id for role in person.roles) if isinstance(person, discord.Member) else frozenset[int]()
    return Actor(person.id, person.display_name, roles)


def thread_of(interaction: discord.Interaction[Any]) -> int | None:
    """Return the id of the thread in which something was pressed or typed, or None outside threads."""
    return interaction.channel.id if isinstance(interaction.channel, discord.Thread) else None


Act = Callable[[Front, Actor], Answer]


async def respond(interaction: discord.Interaction[Any], act: Act, *, shown: bool = False) -> int | None:
    """Do what was asked if the person may, and tell what came of it: only them, or, if ``shown``, everybody.

    Returns the id of the message that everybody sees, if there is one.
    """
    answer = await promised(_front(interaction).desk, _asked(interaction, act))
    public = shown and answer.accepted
    message_id = await tell(interaction, answer.text, ephemeral=not public)
    return message_id if public else None


def _front(interaction: discord.Interaction[Any]) -> Front:
    front: Front = interaction.client
    return front


def permitted(interaction: discord.Interaction[Any]) -> bool:
    """Return whether the person may use Weft here."""
    return _front(interaction).judge(_request(interaction, actor_of(interaction.user))).allowed


async def respond_once(interaction: discord.Interaction[Any], act: Act) -> None:
    """Do the same for a press that can have its effect once: the buttons of its message vanish then."""
    answer = await promised(_front(interaction).desk, _asked(interaction, act))
    if answer.accepted and await _without_buttons(interaction):
        await _follow_up(interaction, answer.text)
    else:
        await tell(interaction, answer.text)


async def promised(desk: Desk, answer: Answer) -> Answer:
    """Return the answer, with a line below if what it promises is not written down within Discord's time."""
    if not answer.lasting:
        return answer
    with anyio.move_on_after(SAVE_LIMIT):
        if await desk.saved():
            return answer
    first, *rest = answer.text.split("\n", 1)  # below that may stand a quotation, which has no end
    return replace(answer, text="\n".join([first, NOT_SAVED, *rest]))


def outcome(act: Callable[[], Answer], asked: int) -> Answer:
    """Return what the work answers; a failure of it is an answer too. ``asked``: the snowflake of the asking."""
    try:
        return act()
    except Exception:
        log.exception("command.failed", asked=asked)
        return Answer(FAILED, accepted=False)


def _asked(interaction: discord.Interaction[Any], act: Act) -> Answer:
    front = _front(interaction)
    person = interaction.user
    actor = replace(actor_of(person), owner=person.id in front.policy.owners)
    verdict = front.judge(_request(interaction, actor))
    if not verdict.allowed:
        return Answer(verdict.reason, accepted=False)
    return outcome(lambda: act(front, actor), interaction.id)


async def tell(interaction: discord.Interaction[Any], text: str, *, ephemeral: bool = True) -> int | None:
    """Send the answer and return its id; that the person can't be told is logged, not raised."""
    try:
        sent = await interaction.response.send_message(clip(text, MESSAGE_LIMIT), ephemeral=ephemeral, **QUIETLY)
    except _LOST as exc:
        _log_lost(interaction, exc)
        return None
    return sent.message_id


async def _without_buttons(interaction: discord.Interaction[Any]) -> bool:
    """Answer with the message as it is, but without buttons; False if that could not be done."""
    with _logged(interaction):
        await interaction.response.edit_message(view=None, allowed_mentions=NOBODY)
    return interaction.response.is_done()


async def _follow_up(interaction: discord.Interaction[Any], text: str) -> None:
    with _logged(interaction):
        await interaction.followup.send(clip(text, MESSAGE_LIMIT), ephemeral=True, **QUIETLY)


@contextmanager
def _logged(interaction: discord.Interaction[Any]) -> Iterator[None]:
    try:
        yield
    except _LOST as exc:
        _log_lost(interaction, exc)


def _log_lost(interaction: discord.Interaction[Any], error: Exception) -> None:
    log.warning("answer.lost", interaction=interaction.id, error=repr(error))


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
