"""The servers and channels in which Weft is to work: whether it is there, and what it may not do there.

With channels listed each of them is looked at, else the text channels of each server; 20 in all. Permissions are
computed by `permissions`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from bot.ops.doctor.finding import Finding, Verdict, ok, several, warn
from bot.ops.doctor.objects import ANNOUNCEMENTS, FORUM, MEDIA, TEXT, THREADS, Channel, Guild, Member, PartialGuild
from bot.ops.doctor.permissions import ESSENTIAL, Standing, lacking, permitted
from bot.ops.doctor.rest import AskError, Questions, Refused

MOST_PLACES = 20
_PAGE = 200
_GONE = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Place:
    """What was found of a server or channel; not usable if a message there would get no answer."""

    finding: Finding
    usable: bool


class Places:
    """Looks at servers and channels; the mutable state is what is known of the servers already."""

    def __init__(self, questions: Questions, bot_id: int) -> None:
        self._questions, self._bot_id = questions, bot_id
        self._standings: dict[int, tuple[str, Standing]] = {}

    async def channel(self, channel_id: int, guilds: Sequence[int]) -> Place:
        """Look at a channel that is listed."""
        try:
            channel = await self._questions.ask(f"/channels/{channel_id}", Channel)
            if problem := channel_problem(channel, guilds):
                return Place(warn("channel", f"{channel_id}: {problem}"), usable=False)
            assert channel.guild_id is not None
            name, standing = await self._standing(channel.guild_id)
        except AskError as exc:
            return _unknown("channel", channel_id, exc, "is not there, or Weft may not see it (View Channels)")
        return judge_channel(f"#{channel.name} in {name}", permitted(standing, channel.overwrites))

    async def guild(self, guild_id: int) -> Place:
        """Look at a server in which every channel will do."""
        try:
            name, standing = await self._standing(guild_id)
            channels = await self._questions.ask(f"/guilds/{guild_id}/channels", list[Channel])
        except AskError as exc:
            return _unknown("server", guild_id, exc, "Weft is not a member of it: invite it")
        return judge_guild(name, standing, [one for one in channels if one.type in (TEXT, ANNOUNCEMENTS)])

    async def _standing(self, guild_id: int) -> tuple[str, Standing]:
        if guild_id not in self._standings:
            guild = await self._questions.ask(f"/guilds/{guild_id}", Guild)
            member = await self._questions.ask(f"/guilds/{guild_id}/members/{self._bot_id}", Member)
            self._standings[guild_id] = guild.name, standing_of(self._bot_id, guild, member, datetime.now(UTC))
        return self._standings[guild_id]


async def check_places(
    questions: Questions, bot_id: int, guilds: Sequence[int], channels: Sequence[int]
) -> list[Finding]:
    """Look at the listed places, or at all servers where none is listed."""
    try:
        mine = await questions.ask(f"/users/@me/guilds?limit={_PAGE}", list[PartialGuild])
    except AskError as exc:
        return [warn("servers", f"{exc}")]
    if not mine:
        return [warn("servers", "Weft is in no server yet: open the address above")]
    places = Places(questions, bot_id)
    wanted = list(guilds or (guild.id for guild in mine))
    looked = [await places.channel(one, guilds) for one in channels[:MOST_PLACES]]
    absent = [one for one in guilds if one not in {guild.id for guild in mine}] if channels else []
    looked += [await places.guild(one) for one in (absent if channels else wanted)[: MOST_PLACES - len(looked)]]
    names = several([guild.name for guild in mine])
    return [ok("servers", f"{len(mine)}: {names}"), *weigh(looked), *_rest(len(channels or wanted))]


def _rest(count: int) -> list[Finding]:
    return [warn("places", f"{count - MOST_PLACES} more were not looked at")] if count > MOST_PLACES else []


def weigh(places: Sequence[Place]) -> list[Finding]:
    """Return the findings: what is wrong with a place keeps the bot from working only if no other is left."""
    stuck = bool(places) and not any(place.usable for place in places)
    verdict = Verdict.FAIL if stuck else Verdict.WARN
    return [place.finding if place.usable else dataclasses.replace(place.finding, verdict=verdict) for place in places]


def _unknown(subject: str, place_id: int, error: AskError, gone: str) -> Place:
    if isinstance(error, Refused) and error.status in _GONE:
        return Place(warn(subject, f"{place_id}: {gone}"), usable=False)
    return Place(warn(subject, f"{place_id}: {error}"), usable=True)  # not known to be unusable


def channel_problem(channel: Channel, guilds: Sequence[int]) -> str:
    """Say why listing this channel is of no use, or nothing."""
    if channel.guild_id is None:
        return "is a direct message channel, and Weft works in servers only"
    if guilds and channel.guild_id not in guilds:
        return "is in a server that WEFT_ALLOWED_GUILDS does not list"
    if channel.type in THREADS:
        return "is a thread: list its channel, a thread counts as that"
    return "" if channel.type in (TEXT, ANNOUNCEMENTS, FORUM, MEDIA) else "is no channel that holds threads"


def standing_of(bot_id: int, guild: Guild, member: Member, now: datetime) -> Standing:
    """Return what the bot is in a server; everyone has the role that has the server's id."""
    own = {guild.id, *member.roles}
    return Standing(
        user_id=bot_id,
        guild_id=guild.id,
        roles={role.id: role.permissions for role in guild.roles if role.id in own},
        is_owner=guild.owner_id == bot_id,
        silenced=member.communication_disabled_until is not None and member.communication_disabled_until > now,
    )


def judge_channel(name: str, granted: int) -> Place:
    """Judge a channel by the bits that Weft has in it."""
    missing = lacking(granted)
    if not missing:
        return Place(ok("channel", f"{name}: has all permissions"), usable=True)
    return Place(warn("channel", f"{name}: lacks {', '.join(missing)}"), usable=not lacking(granted, ESSENTIAL))


def judge_guild(name: str, standing: Standing, channels: Sequence[Channel]) -> Place:
    """Judge a server by its text channels: that Weft is kept out of some may be as it should be."""
    granted = [(f"#{channel.name}", permitted(standing, channel.overwrites)) for channel in channels]
    closed = [channel for channel, bits in granted if lacking(bits, ESSENTIAL)]
    open_ones = [(channel, lacking(bits)) for channel, bits in granted if not lacking(bits, ESSENTIAL)]
    partly = [f"{channel} lacks {', '.join(missing)}" for channel, missing in open_ones if missing]
    usable = len(closed) < len(granted)
    roles = lacking(permitted(standing))
    parts = [
        f"{name}: {len(granted) - len(closed)} of {len(granted)} text channels can be used",
        f"not {several(closed)}" if closed else "",
        f"its roles lack {', '.join(roles)}" if roles and not usable else "",
        several(partly),
    ]
    return Place((ok if usable and not partly else warn)("server", "; ".join(filter(None, parts))), usable)
