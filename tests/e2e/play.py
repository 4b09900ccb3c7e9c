"""The whole bot on its stage, with an agent that plays a scenario: what end-to-end tests do and look at.

Limits are settings, so tests set them small; nothing in the bot knows that it is tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from discord.backoff import ExponentialBackoff

from bot import derived_settings
from bot.chat import answers, lookups
from bot.chat.client import WeftClient
from bot.chat.gateway import ChatConfig
from bot.chat.rest import RetryLimits
from bot.config import Settings
from bot.demo.stage import Stage, stage
from bot.demo.transcript import CardButton, card_buttons
from bot.model import Inbound, Outcome
from bot.preflight import RunSettings
from bot.sandbox import FakeDiscord, Interaction, Message, Person, RateLimits, interactions
from bot.sandbox.model import MessageType
from bot.work.attention.notifications import Notify
from bot.work.limits import WorkLimits
from tests.agents import ScriptedAgent, alive

LIMIT = 100.0
"""Seconds that a whole test may take; a net, not a measure."""

QUICK: dict[str, Any] = {
    "debounce": 0,
    "reactions": False,
    "welcome": False,
    "user_messages": 0,
    "edit_interval": 0.02,
    "cancel_grace": 10.0,  # for agents that react; those that don't have a short one of their own
    "drain": 0.05,
    "permission_timeout": 30.0,
}


@dataclass(slots=True)
class Play:
    """A stage, an agent, and the calls of a test."""

    on_stage: Stage
    agent: ScriptedAgent

    @property
    def discord(self) -> FakeDiscord:
        return self.on_stage.discord

    @property
    def owner(self) -> Person:
        return self.discord.owner

    async def mention(self, text: str, person: Person | None = None) -> int:
        """Post a mention in the channel; the message's id is the thread's, too."""
        message = await (person or self.owner).say(self.discord.channel_id, text, mention_bot=True)
        return message.id

    async def say(self, thread_id: int, text: str, person: Person | None = None) -> int:
        return (await (person or self.owner).say(thread_id, text)).id

    async def outcome(self, message_id: int) -> Outcome:
        return await self.on_stage.outcome(message_id)

    async def ask(self, text: str) -> tuple[int, Outcome]:
        """Post a mention and wait for its end."""
        message_id = await self.mention(text)
        return message_id, await self.outcome(message_id)

    def replies(self, thread_id: int) -> list[Message]:
        """What Weft has posted in a thread, without Discord's notices of what it did there."""
        bot, notice = self.discord.bot_user.id, MessageType.CHANNEL_NAME_CHANGE
        posted = self.discord.messages(thread_id)
        return [message for message in posted if message.author_id == bot and message.type is not notice]

    def shown(self, thread_id: int) -> str:
        """All that Weft has posted in a thread."""
        return "\n".join(message.content for message in self.replies(thread_id))

    async def until_shown(self, thread_id: int, text: str) -> None:
        await self.discord.wait_for(lambda _: self.opened(thread_id) and text in self.shown(thread_id), timeout=LIMIT)

    async def until_begun(self, thread_id: int) -> None:
        """Wait until a turn of a thread has begun: its agent may be started ahead, before the thread is there."""
        await self.discord.wait_for(lambda fd: fd.rest_calls("POST", f"/{thread_id}/typing"), timeout=LIMIT)

    def opened(self, thread_id: int) -> bool:
        channel = self.discord.state.channels.get(thread_id)
        return channel is not None and (channel.is_thread or not channel.in_guild)

    async def card(self, thread_id: int) -> tuple[int, list[CardButton]]:
        """Wait for an open permission card; return its message and buttons."""

        def look() -> list[tuple[int, list[CardButton]]]:
            if not self.opened(thread_id):
                return []
            return [(reply.id, buttons) for reply in self.replies(thread_id) if (buttons := card_buttons(reply))]

        await self.discord.wait_for(lambda _: look(), timeout=LIMIT)
        return look()[0]

    async def press(self, thread_id: int, label: str, person: Person | None = None) -> Interaction:
        message_id, buttons = await self.card(thread_id)
        wanted = next(button for button in buttons if button.label == label)
        return await (person or self.owner).click(message_id, wanted.custom_id)

    async def stop(self, thread_id: int) -> str:
        """Give the /stop command; return what it answered."""
        answer = await self.owner.slash(thread_id, "stop")
        return str((answer.response or {}).get("content"))

    async def agents_gone(self) -> None:
        """Wait until no process of the agent lives."""
        with anyio.fail_after(LIMIT):
            while any(alive(pid) for pid in self.agent.pids()):  # noqa: ASYNC110  the kernel sends no event
                await anyio.sleep(0.01)


@asynccontextmanager
async def play(
    directory: Path,
    agent: ScriptedAgent,
    *,
    rate_limits: RateLimits = RateLimits.OFF,
    clean: bool = True,
    pings: bool = False,
    **settings: Any,
) -> AsyncIterator[Play]:
    """Run the bot with an agent; in the end nothing may be left of it, and it may have broken no rule of Discord's.

    Args:
        pings: people are pinged as they usually are; otherwise the ends of turns are in the messages above them.
    """
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(LIMIT):
        # Discord's three seconds, and what of them is for the disk, are no measure on a busy machine.
        patch.setattr(answers, "SAVE_LIMIT", LIMIT)
        patch.setattr(interactions, "ACKNOWLEDGE_SECONDS", LIMIT)
        async with stage(agent.argv, rate_limits=rate_limits, directory=directory, **(QUICK | settings)) as on_stage:
            game = Play(on_stage, agent)
            if not pings:
                on_stage.bot.dispatcher.notifications.usual = Notify.NEVER
            counts = _count_outcomes(on_stage)
            yield game
            if clean:
                game.discord.assert_clean()
        assert [message for message, count in counts.items() if count > 1] == [], "messages with two outcomes"
        await game.agents_gone()


def _count_outcomes(on_stage: Stage) -> Counter[int]:
    """Count the outcomes of each message: what its listener raises, the dispatcher only logs."""
    counts: Counter[int] = Counter()

    def count(inbound: Inbound, _outcome: Outcome) -> None:
        counts[inbound.message_id] += 1

    on_stage.bot.dispatcher.deliveries.listeners.append(count)
    return counts


def hurry_discord(monkeypatch: pytest.MonkeyPatch, lookup: float = 5.0) -> None:
    """Shorten the pauses before Discord is tried again, ours and discord.py's, and those between many edits.

    They are no settings. The loopback Discord has no limits of its own here.
    """
    chat_config, work_limits = derived_settings.chat_config, derived_settings.work_limits

    def quick_chat(settings: Settings, wanted: RunSettings) -> ChatConfig:
        retries = RetryLimits(first=0.01, longest=0.05)
        return replace(chat_config(settings, wanted), first_pause=0.02, longest_pause=0.1, retries=retries)

    def quick_work(settings: Settings) -> WorkLimits:
        limits = work_limits(settings)
        pacing = replace(limits.pacing, backoff=0.02, backoff_max=0.1, bucket=1_000)
        return replace(limits, pacing=pacing, lookup=lookup)

    async def at_once(_client: WeftClient, _shard: int | None, *, initial: bool = False) -> None:
        del initial  # discord.py waits five seconds after a refused RESUME

    monkeypatch.setattr(lookups, "READ_LEAVE_LIMIT", 0.1)
    monkeypatch.setattr(derived_settings, "chat_config", quick_chat)
    monkeypatch.setattr(derived_settings, "work_limits", quick_work)
    monkeypatch.setattr(WeftClient, "before_identify_hook", at_once)
    monkeypatch.setattr(ExponentialBackoff, "delay", lambda _self: 0.02)


async def until_marked(discord: FakeDiscord, *message_ids: int) -> None:
    """Wait until each of the messages bears a reaction: Weft has accepted it."""
    await discord.wait_for(lambda fd: all(fd.message(one).reactions for one in message_ids), timeout=LIMIT)
