"""A small discord.py bot and the context manager that runs it against a loopback Discord.

It does what a test tells it to; the library is unmodified, only its two base addresses are set.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import discord
import pytest
import yarl
from discord import app_commands

from bot.sandbox import FakeDiscord

OnMessage = Callable[[discord.Message], Awaitable[Any]]


class Bot(discord.Client):
    """A client that keeps what it saw."""

    def __init__(self, on_text: OnMessage | None = None, intents: discord.Intents | None = None, **options: Any):
        super().__init__(
            intents=intents or default_intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=0.05,
            **options,
        )
        self.tree = app_commands.CommandTree(self)
        self.events: list[tuple[str, Any]] = []
        self.on_text = on_text
        self.was_ready = anyio.Event()
        self._changed = anyio.Event()

    async def on_ready(self) -> None:
        self.was_ready.set()

    async def on_message(self, message: discord.Message) -> None:
        if self.on_text is not None and message.author.id != self.application_id:
            await self.on_text(message)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        self.events.append((event, args))
        super().dispatch(event, *args, **kwargs)
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_until(self, pred: Callable[["Bot"], object], timeout: float = 30.0) -> None:
        """Wait until the predicate holds; it is asked again after each of the library's events."""
        with anyio.fail_after(timeout):
            while not pred(self):
                await self._changed.wait()

    @property
    def seen(self) -> list[discord.Message]:
        """The messages of others."""
        found = [args[0] for name, args in self.events if name == "message"]
        return [one for one in found if one.author.id != self.application_id]

    def names(self) -> list[str]:
        """The names of the library's events so far."""
        return [name for name, _ in self.events]


def default_intents() -> discord.Intents:
    intents = discord.Intents.default()
    intents.message_content = True
    return intents


def point_library(monkeypatch: pytest.MonkeyPatch, fd: FakeDiscord) -> None:
    """Make discord.py talk to the loopback Discord."""
    monkeypatch.setattr(discord.http.Route, "BASE", fd.api_url)
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(fd.gateway_url))


@asynccontextmanager
async def running(bot: Bot, fd: FakeDiscord) -> AsyncIterator[Bot]:
    """Log the bot in, wait until it is ready, and close it in the end."""
    async with anyio.create_task_group() as tasks, bot:
        await bot.login(fd.token)
        tasks.start_soon(bot.connect)
        with anyio.fail_after(30):
            await bot.was_ready.wait()
        yield bot
        await bot.close()


@asynccontextmanager
async def connected(
    monkeypatch: pytest.MonkeyPatch, on_text: OnMessage | None = None, **options: Any
) -> AsyncIterator[tuple[FakeDiscord, Bot]]:
    """A loopback Discord with a ready bot."""
    async with FakeDiscord(**options) as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(on_text), fd) as bot:
            yield fd, bot
