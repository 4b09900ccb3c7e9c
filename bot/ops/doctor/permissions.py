"""Which permissions Weft needs in Discord, and which of them a bot has in a place (pure).

Source: Discord's documentation, Permissions: roles are joined, then a channel's overwrites are applied, those of
everyone first, of all roles together next, of the member last. Owners and administrators may do everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

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

_LEFT_BY_TIMEOUT: Final = VIEW | HISTORY
_EVERYTHING: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Overwrite:
    """What a channel changes for a role or a member: bits taken away, and bits given."""

    id: int
    allow: int = 0
    deny: int = 0


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
    if standing.is_owner or base & ADMINISTRATOR:
        return _EVERYTHING
    granted = _overwritten(base, standing, list(overwrites))
    if standing.silenced:
        granted &= _LEFT_BY_TIMEOUT
    return granted if granted & VIEW else 0


def _overwritten(bits: int, standing: Standing, overwrites: list[Overwrite]) -> int:
    everyone = [one for one in overwrites if one.id == standing.guild_id]
    roles = [one for one in overwrites if one.id in standing.roles and one.id != standing.guild_id]
    own = [one for one in overwrites if one.id == standing.user_id]
    for level in (everyone, roles, own):
        denied = allowed = 0
        for one in level:
            denied, allowed = denied | one.deny, allowed | one.allow
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
