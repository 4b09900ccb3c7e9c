"""Discord's objects, as far as the doctor reads them (pure). Ids and bits come as text and are read as numbers."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from bot.ops.doctor.permissions import Overwrite

TEXT, ANNOUNCEMENTS, FORUM, MEDIA = 0, 5, 15, 16
THREADS = frozenset({10, 11, 12})

_CONTENT_INTENT = 1 << 18 | 1 << 19
"""Granted to applications in many servers, and switched on by those in few; source: Application Flags."""


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class User(_Object):
    """The bot's account, or the application's owner."""

    id: int
    username: str = ""


class Team(_Object):
    """Who owns an application together."""

    name: str = ""


class Application(_Object):
    """The application that the bot belongs to."""

    id: int
    name: str = ""
    flags: int = 0
    owner: User | None = None
    team: Team | None = None
    bot_require_code_grant: bool = False
    interactions_endpoint_url: str | None = None

    @property
    def reads_content(self) -> bool:
        """Whether the message content intent is on."""
        return bool(self.flags & _CONTENT_INTENT)


class SessionStarts(_Object):
    """How many more gateway sessions may be begun; milliseconds until the number is full again."""

    total: int
    remaining: int
    reset_after: int


class GatewayBot(_Object):
    """What is told to a bot that wants to connect."""

    session_start_limit: SessionStarts


class PartialGuild(_Object):
    """A server of the bot's list."""

    id: int
    name: str = ""


class Role(_Object):
    """A role with its bits."""

    id: int
    permissions: int


class Guild(_Object):
    """A server with its roles."""

    id: int
    name: str = ""
    owner_id: int
    roles: list[Role]


class Member(_Object):
    """The bot's part in a server."""

    roles: list[int]
    communication_disabled_until: datetime | None = None


class _RawOverwrite(_Object):
    id: int
    allow: int = 0
    deny: int = 0


class Channel(_Object):
    """A channel with its overwrites."""

    id: int
    type: int
    name: str | None = None
    guild_id: int | None = None
    raw: list[_RawOverwrite] = Field(default_factory=list, alias="permission_overwrites")

    @property
    def overwrites(self) -> list[Overwrite]:
        """What the channel changes."""
        return [Overwrite(one.id, one.allow, one.deny) for one in self.raw]
