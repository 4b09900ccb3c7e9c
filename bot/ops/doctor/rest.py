"""Questions to Discord's REST interface: plain GETs with the bot's token, no gateway, one try each.

The objects in the answers have only what the doctor reads; ids and bits come as text and are read as numbers. What an
answer means is decided by the caller.

AskError                the question was not answered; the message says why
└── Refused             with an error: `status`
"""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bot.version import version

DISCORD = "https://discord.com/api/v10"
_ANSWER = 10.0

T = TypeVar("T")

TEXT, ANNOUNCEMENTS, FORUM, MEDIA = 0, 5, 15, 16
THREADS = frozenset({10, 11, 12})
_CONTENT_INTENT = 1 << 18 | 1 << 19
"""Granted to applications in many servers, and switched on by those in few; source: Application Flags."""


class AskError(Exception):
    """Discord did not answer the question."""


class Refused(AskError):
    """Discord answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Questions:
    """Asks Discord; the session is the caller's.

    Args:
        api: the address of the REST interface, without a slash at its end.
    """

    def __init__(self, session: aiohttp.ClientSession, api: str, token: str) -> None:
        self._session, self._api = session, api
        # The form is Discord's: a client that does not name itself may be blocked.
        agent = f"DiscordBot (weft, {version()})"
        self._headers = {"Authorization": f"Bot {token}", "User-Agent": agent}
        self._limit = aiohttp.ClientTimeout(total=_ANSWER)

    async def ask(self, path: str, kind: type[T]) -> T:
        """Return what Discord answers.

        Raises:
            Refused: it answered with an error.
            AskError: it could not be reached, or answered something else.
        """
        status, body = await self._get(path)
        if status != HTTPStatus.OK:
            # With Discord's own words where it has some: they name what is wrong better than a status.
            raise Refused(status, _refusal(status, body))
        try:
            return TypeAdapter(kind).validate_python(body)
        except ValidationError as exc:
            raise AskError(f"Discord's answer to {path} was not understood") from exc

    async def _get(self, path: str) -> tuple[int, Any]:
        # No redirects: the token is for this address only.
        asked = self._session.get(self._api + path, headers=self._headers, timeout=self._limit, allow_redirects=False)
        try:
            async with asked as answer:
                return answer.status, _decoded(await answer.read())
        # First, as a time-out of aiohttp's is a client error, too.
        except TimeoutError as exc:
            raise AskError(f"Discord did not answer within {_ANSWER:g} s") from exc
        except aiohttp.ClientError as exc:
            raise AskError(f"Discord can't be reached: {exc}") from exc


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:  # the proxy in front of Discord answers in HTML
        return None


def _refusal(status: int, body: Any) -> str:
    told = body if isinstance(body, dict) else {}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = told.get("retry_after")
        return (
            f"Discord refuses requests for {wait:.0f} s (429): try again then"
            if isinstance(wait, int | float)
            else "Discord refuses requests from this machine for a while (429)"
        )
    # Apart from refusals: nothing about the settings has to be fixed.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"Discord has an outage ({status}): try again later"
    return f"Discord answered {told.get('message') or 'an error'} ({told.get('code') or status})"


# --- the objects -----------------------------------------------------------------------------------------------------


class _Object(BaseModel):
    # Discord adds to its objects whenever it likes; what is only shown here may also be missing.
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
    """The answer to a bot that wants to connect."""

    session_start_limit: SessionStarts


class PartialGuild(_Object):
    """A server of the bot's list."""

    id: int
    name: str = ""


class Role(_Object):
    id: int
    name: str = ""
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


class Person(User):
    """A member's account, with the name that people see."""

    global_name: str | None = None


class FoundMember(_Object):
    """A member of a server, as a search shows them."""

    user: Person
    nick: str | None = None


class Overwrite(_Object):
    """What a channel changes for a role or a member: bits taken away, and bits given."""

    id: int
    allow: int = 0
    deny: int = 0


class Tag(_Object):
    name: str = ""


class Channel(_Object):
    """A channel with its overwrites and, if it is a forum, its tags."""

    id: int
    type: int
    name: str | None = None
    guild_id: int | None = None
    overwrites: list[Overwrite] = Field(default_factory=list, alias="permission_overwrites")
    tags: list[Tag] = Field(default_factory=list, alias="available_tags")
