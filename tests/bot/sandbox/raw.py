"""A client without discord.py's good manners: it sends what it is told and ignores rate limits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.sandbox import FakeDiscord

SILENT: dict[str, list[str]] = {"parse": []}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    data: Any
    headers: dict[str, str]

    @property
    def code(self) -> int:
        """Discord's error code."""
        return int(self.data["code"])

    @property
    def id(self) -> int:
        """The id of the object."""
        return int(self.data["id"])


class Raw:
    """Requests with the bot's token."""

    def __init__(self, fd: FakeDiscord, session: aiohttp.ClientSession) -> None:
        self._fd = fd
        self._session = session

    async def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: str) -> Answer:
        headers = {"Authorization": f"Bot {token or self._fd.token}"}
        url = self._fd.api_url + path
        async with self._session.request(method, url, json=body, headers=headers, params=query) as response:
            text = await response.text()
            is_json = response.headers.get("Content-Type") == "application/json"
            return Answer(response.status, json.loads(text) if is_json else text, dict(response.headers))

    async def post(self, channel_id: int, content: Any = "hi", **body: Any) -> Answer:
        """Create a message; without mentions unless told otherwise."""
        full = {"content": content, "allowed_mentions": SILENT, **body}
        return await self.call("POST", f"/channels/{channel_id}/messages", full)

    async def edit(self, channel_id: int, message_id: int, content: Any = "new", **body: Any) -> Answer:
        """Edit a message."""
        full = {"content": content, "allowed_mentions": SILENT, **body}
        return await self.call("PATCH", f"/channels/{channel_id}/messages/{message_id}", full)

    async def thread(self, channel_id: int, message_id: int, name: Any = "a thread", **body: Any) -> Answer:
        """Start a thread from a message."""
        return await self.call("POST", f"/channels/{channel_id}/messages/{message_id}/threads", {"name": name, **body})


@asynccontextmanager
async def raw_client(**options: Any) -> AsyncIterator[tuple[FakeDiscord, Raw]]:
    """A loopback Discord and a raw client for it."""
    async with FakeDiscord(**options) as fd, aiohttp.ClientSession() as session:
        yield fd, Raw(fd, session)


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
