"""The servers and channels in which Weft is to work: whether it is there, and what it may not do there.

With channels listed each of them is looked at, else the text channels of each server; 20 in all. Source for what a bot
may do: Discord's documentation, Permissions: roles are joined, then a channel's overwrites are applied, those of
everyone first, of all roles together next, of the member last. Owners and administrators may do everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from bot.ops.doctor.finding import Finding, Verdict, ok, several, warn
from bot.ops.doctor.rest import (
    ANNOUNCEMENTS,
    FORUM,
    MEDIA,
    TEXT,
    THREADS,
    AskError,
    Channel,
    Guild,
    Member,
    Overwrite,
    PartialGuild,
    Questions,
    Refused,
)
from bot.work.outside.headers import STATE_TAGS

MOST_PLACES = 20
_PAGE = 200
_GONE = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)

VIEW: Final = 1 << 10
HISTORY: Final = 1 << 16
ADMINISTRATOR: Final = 1 << 3
ESSENTIAL: Final[Mapping[str, int]] = {
    "View Channels": VIEW,
    "Send Messages": 1 << 11,
    "Create Public Threads": 1 << 35,
    "Send Messages in Threads": 1 << 38,
    "Read Message History": HISTORY,
}
"""Without one of these no thread is opened or no answer comes."""
NEEDED: Final[Mapping[str, int]] = {**ESSENTIAL, "Add Reactions": 1 << 6, "Attach Files": 1 << 15}
"""All that Weft makes use of, by the names that Discord's own settings show."""
MANAGING: Final[Mapping[str, int]] = {"Manage Threads": 1 << 34}
"""What tags of posts take in addition."""
_LEFT_BY_TIMEOUT: Final = VIEW | HISTORY
_EVERYTHING: Final = (1 << 64) - 1


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
            return _unknown("channel", channel_id, exc, "not found, or Weft may not see it (View Channels)")
        return judge_channel(f"#{channel.name} in {name}", permitted(standing, channel.overwrites))

    async def forum(self, channel_id: int, channels: Sequence[int]) -> Finding:
        """Look at a forum in which each new post is to be a prompt (S6)."""
        try:
            channel = await self._questions.ask(f"/channels/{channel_id}", Channel)
            if channel.type not in (FORUM, MEDIA) or channel.guild_id is None:
                return warn("forum", f"{channel_id}: is not a forum, and WEFT_FORUMS lists forums")
            name, standing = await self._standing(channel.guild_id)
        except AskError as exc:
            return _unknown("forum", channel_id, exc, "not found, or Weft may not see it (View Channels)").finding
        listed = not channels or channel_id in channels
        return judge_forum(
            f"#{channel.name} in {name}", channel, permitted(standing, channel.overwrites), listed=listed
        )

    async def guild(self, guild_id: int) -> Place:
        """Look at a server in which every channel will do."""
        try:
            name, standing = await self._standing(guild_id)
            channels = await self._questions.ask(f"/guilds/{guild_id}/channels", list[Channel])
        except AskError as exc:
            return _unknown("server", guild_id, exc, "Weft is not in this server: invite it with the link above")
        return judge_guild(name, standing, [one for one in channels if one.type in (TEXT, ANNOUNCEMENTS)])

    async def _standing(self, guild_id: int) -> tuple[str, Standing]:
        # Once for each server: several of its channels may be listed.
        if guild_id not in self._standings:
            guild = await self._questions.ask(f"/guilds/{guild_id}", Guild)
            member = await self._questions.ask(f"/guilds/{guild_id}/members/{self._bot_id}", Member)
            self._standings[guild_id] = guild.name, standing_of(self._bot_id, guild, member, datetime.now(UTC))
        return self._standings[guild_id]


async def check_places(
    questions: Questions, bot_id: int, guilds: Sequence[int], channels: Sequence[int], forums: Sequence[int] = ()
) -> list[Finding]:
    """Look at the listed places, or at all servers where none is listed; and at Weft's own forums."""
    try:
        mine = await questions.ask(f"/users/@me/guilds?limit={_PAGE}", list[PartialGuild])
    except AskError as exc:
        return [warn("servers", f"{exc}")]
    if not mine:
        return [warn("servers", "Weft is not in any server yet: open the invite link above")]
    places = Places(questions, bot_id)
    wanted = list(guilds or (guild.id for guild in mine))
    # One after the other: these questions count against the limits of a bot that may be running.
    looked = [await places.channel(one, guilds) for one in channels[:MOST_PLACES]]
    # Where channels are listed, a server matters only if Weft is not in it.
    absent = [one for one in guilds if one not in {guild.id for guild in mine}] if channels else []
    looked += [await places.guild(one) for one in (absent if channels else wanted)[: MOST_PLACES - len(looked)]]
    names = several([guild.name for guild in mine])
    own = [await places.forum(one, channels) for one in forums[:MOST_PLACES]]
    return [ok("servers", f"{len(mine)}: {names}"), *weigh(looked), *_rest(len(channels or wanted)), *own]


def _rest(count: int) -> list[Finding]:
    return [warn("places", f"{count - MOST_PLACES} more were not checked")] if count > MOST_PLACES else []


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
        return "is a direct message channel: Weft works in servers only"
    if guilds and channel.guild_id not in guilds:
        return "is in a server that WEFT_ALLOWED_GUILDS does not list"
    if channel.type in THREADS:
        return "is a thread: list its channel instead, its threads are included"
    return "" if channel.type in (TEXT, ANNOUNCEMENTS, FORUM, MEDIA) else "is not a channel that can hold threads"


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


def judge_forum(name: str, forum: Channel, granted: int, *, listed: bool) -> Finding:
    """Judge a forum of Weft's by the bits that it has there, and by the tags that can show a state."""
    names = {tag.name.strip().lower() for tag in forum.tags}
    tags = [tag for tag in STATE_TAGS if tag in names]
    # Tags of other people's posts take it; without such tags nothing does.
    missing = lacking(granted, {**NEEDED, **MANAGING} if tags else NEEDED)
    problems = [
        "" if listed else "WEFT_ALLOWED_CHANNELS does not list it, so posts there are refused",
        f"lacks {', '.join(missing)}" if missing else "",
    ]
    if told := "; ".join(filter(None, problems)):
        return warn("forum", f"{name}: {told}")
    return ok("forum", f"{name}: state tags {', '.join(tags)}" if tags else f"{name}: has no tags for states")


def judge_guild(name: str, standing: Standing, channels: Sequence[Channel]) -> Place:
    """Judge a server by its text channels: that Weft is kept out of some may be as it should be."""
    granted = [(f"#{channel.name}", permitted(standing, channel.overwrites)) for channel in channels]
    # Where something essential is missing Weft may be kept out on purpose; where the rest is, that is a mistake.
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


# --- permissions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What a bot is in a server.

    Attributes:
        roles: the bits of its roles by their ids; that of everyone has the server's id.
        silenced: whether it is timed out by a moderator.
    """

    user_id: int
    guild_id: int
    roles: Mapping[int, int]
    is_owner: bool = False
    silenced: bool = False


def permitted(standing: Standing, overwrites: Iterable[Overwrite] = ()) -> int:
    """Return the bits that hold in a channel with these overwrites, or in the whole server without any."""
    base = 0
    for bits in standing.roles.values():
        base |= bits
    # Before the overwrites and a time-out, neither of which binds them.
    if standing.is_owner or base & ADMINISTRATOR:
        return _EVERYTHING
    granted = _overwritten(base, standing, list(overwrites))
    if standing.silenced:
        granted &= _LEFT_BY_TIMEOUT
    # Who does not see a channel may do nothing in it, whatever else is given there.
    return granted if granted & VIEW else 0


def _overwritten(bits: int, standing: Standing, overwrites: list[Overwrite]) -> int:
    everyone = [one for one in overwrites if one.id == standing.guild_id]
    # That of everyone is a role as well, and has its own level.
    roles = [one for one in overwrites if one.id in standing.roles and one.id != standing.guild_id]
    own = [one for one in overwrites if one.id == standing.user_id]
    for level in (everyone, roles, own):
        denied = allowed = 0
        for one in level:
            denied, allowed = denied | one.deny, allowed | one.allow
        # Within a level what one role allows goes before what another denies, whichever stands higher.
        bits = bits & ~denied | allowed
    return bits


def lacking(granted: int, needed: Mapping[str, int] = NEEDED) -> list[str]:
    """Return the names of the needed permissions that are not among the bits."""
    return [name for name, bit in needed.items() if not granted & bit]


def invite_link(application_id: int) -> str:
    """Return the address that asks for exactly the scopes and permissions that Weft needs."""
    asked = {
        "client_id": application_id,
        "scope": "bot applications.commands",
        "permissions": sum(NEEDED.values()),
    }
    return f"https://discord.com/oauth2/authorize?{urlencode(asked)}"
