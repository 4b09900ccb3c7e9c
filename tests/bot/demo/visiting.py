"""What the people on the demo's page do and see, without a browser: the page's stage with its bot in a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.demo.chosen_agent import DEMO_AGENT
from bot.demo.page import PageStage, page_stage
from bot.demo.tour import MENTION
from bot.sandbox import FakeDiscord, Interaction, Message, Person, RateLimits

LIMIT = 60.0
"""Seconds that a whole test may take; a net, not a measure."""


class Visit:
    """A visit to the page's Discord."""

    def __init__(self, on_stage: PageStage) -> None:
        self.on_stage = on_stage
        self.discord: FakeDiscord = on_stage.discord

    @property
    def notice(self) -> str:
        """What the page says of the bot."""
        return str(self.discord._page.notice)

    def person(self, name: str) -> Person:
        return next(one for one in self.on_stage.cast.people if one.name == name)

    async def write(self, text: str, who: str = "owner", place: int | None = None, **also: Any) -> int:
        """Post a message, with the mention as the page sends it; return its id, which is the new thread's too."""
        sent = text.replace(MENTION, f"<@{self.discord.bot_user.id}>")
        where = self.discord.channel_id if place is None else place
        return (await self.person(who).say(where, sent, **also)).id

    def replies(self, place: int) -> list[Message]:
        """What Weft has posted in a place that may not be there yet."""
        known = place in self.discord.state.channels
        bot = self.discord.bot_user.id
        return [one for one in self.discord.messages(place) if one.author_id == bot] if known else []

    def shown(self, place: int) -> str:
        return "\n".join(one.content for one in self.replies(place))

    async def until(self, holds: Callable[[], object]) -> None:
        await self.discord.wait_for(lambda _: holds(), timeout=LIMIT)

    async def until_shown(self, place: int, text: str) -> None:
        await self.until(lambda: text in self.shown(place))

    def buttons(self, place: int) -> dict[str, tuple[int, str]]:
        """The buttons that can be pressed in a place, by their labels: the newest message's that has it."""
        return {
            str(button["label"]): (message.id, str(button["custom_id"]))
            for message in self.replies(place)
            for row in message.components
            for button in row.get("components", ())
            if button.get("label") and not button.get("disabled")
        }

    async def press(self, place: int, label: str, who: str = "owner") -> Interaction:
        """Press a button once it is there."""
        await self.until(lambda: label in self.buttons(place))
        return await self.person(who).click(*self.buttons(place)[label])

    async def use(self, place: int, command: str, who: str = "owner", **options: Any) -> str:
        """Use a command; return its answer, as only that person sees it."""
        answer = await self.person(who).slash(place, command, **options)
        await self.until(lambda: not answer.waiting)
        return str((answer.response or {}).get("content", ""))


@asynccontextmanager
async def visiting(
    root: Path, monkeypatch: pytest.MonkeyPatch, pace: float = 0.0, argv: tuple[str, ...] = DEMO_AGENT
) -> AsyncIterator[Visit]:
    """Run the page's stage with its bot, which is connected when the body begins."""
    monkeypatch.setenv("WEFT_DEMO_PACE", str(pace))
    # The agent that is tested need not be the one that is installed.
    monkeypatch.setenv("WEFT_AGENT_ENV", "PYTHONPATH,WEFT_DEMO_PACE")
    with anyio.fail_after(LIMIT):
        async with page_stage(argv, root, rate_limits=RateLimits.OFF) as on_stage:
            await on_stage.discord.ready.wait()
            yield Visit(on_stage)
