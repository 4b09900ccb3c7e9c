"""The bot is killed at random moments and started again: nothing is lost, run twice, or left without an end.

The moments and what is posted come from a seed; which part of the work a kill hits depends on the machine.
"""

from __future__ import annotations

import re
import signal
import sqlite3
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random

import anyio
import pytest

from bot.sandbox import FakeDiscord, Message
from tests.agents import ScriptedAgent, Step, alive, scenario
from tests.e2e.process import Run, run
from tests.repeat import in_soak, long_run

pytestmark = pytest.mark.asyncio

THREAD_EXISTS = 160004
"""The thread of a prompt that was accepted before a kill is opened once more after it."""

FOOTER = re.compile(r"^-# [\d.]+ s", re.MULTILINE)
SETTLED = 30.0
"""Seconds in which everything has to have its end after the last start."""


@dataclass(slots=True)
class Posted:
    """A prompt, and the word that its answer says again."""

    thread_id: int
    message_id: int
    word: str


@dataclass(slots=True)
class Campaign:
    """What people do while the bot dies again and again."""

    directory: Path
    discord: FakeDiscord
    agent: ScriptedAgent
    random: Random
    posted: list[Posted] = field(default_factory=list)

    async def post(self) -> None:
        """Mention the bot in the channel, or write on in a thread that is there."""
        word = f"word{len(self.posted):04d}"
        threads = [thread.id for thread in self.discord.threads()]
        if threads and self.random.random() < 0.6:
            thread_id = self.random.choice(threads)
            message_id = (await self.discord.owner.say(thread_id, word)).id
        else:
            said = await self.discord.owner.say(self.discord.channel_id, word, mention_bot=True)
            thread_id = message_id = said.id
        self.posted.append(Posted(thread_id, message_id, word))

    def start(self) -> AbstractAsyncContextManager[Run]:
        return run(self.directory, self.discord.api_url, self.discord.token, self.agent, WEFT_MAX_AGENTS="4")

    async def first_life(self) -> None:
        """Have a prompt answered: from now on the channel is known, and mentions there are looked for."""
        async with self.start() as bot:
            await bot.logged("catch_up.finished")
            await self.post()
            await self.all_ended()
            assert await bot.signalled(signal.SIGTERM) == 0

    async def one_life(self) -> None:
        """Start the bot, post before and after it is ready, and kill it at some moment."""
        for _ in range(self.random.randint(0, 1)):
            await self.post()
        async with self.start() as bot:
            if self.random.random() < 0.8:
                await bot.logged("gateway.ready")
            for _ in range(self.random.randint(1, 3)):
                await self.post()
            # The moment of the kill is what varies: nothing is waited for here.
            await anyio.sleep(self.random.uniform(0.0, 0.6))
            bot.process.kill()
            await bot.process.wait()

    def ends(self, prompt: Posted) -> list[str]:
        """Return the ends of a prompt that people can see."""
        found = [self._end(message, prompt) for message in self._of_weft(prompt.thread_id)]
        return [end for end in found if end]

    def _end(self, message: Message, prompt: Posted) -> str:
        if prompt.word in message.content and FOOTER.search(message.content):
            return "answered"
        wanted = f"weft:go:{prompt.thread_id}:{prompt.message_id}"
        return "interrupted" if wanted in repr(message.components) else ""

    def _of_weft(self, thread_id: int) -> list[Message]:
        if all(thread.id != thread_id for thread in self.discord.threads()):
            return []
        bot = self.discord.bot_user.id
        return [message for message in self.discord.messages(thread_id) if message.author_id == bot]

    async def settle(self) -> None:
        """Start the bot once more, wait for every end, and stop it in order."""
        async with self.start() as bot:
            await bot.logged("catch_up.finished")
            await self.all_ended()
            self.no_orphans(bot)
            assert await bot.signalled(signal.SIGTERM) == 0

    async def all_ended(self) -> None:
        """Wait until each prompt has an end; what has none by then is found in `check`."""
        with anyio.move_on_after(SETTLED):
            while not all(self.ends(prompt) for prompt in self.posted):  # noqa: ASYNC110  another process works
                await anyio.sleep(0.05)

    def no_orphans(self, bot: Run) -> None:
        """What an earlier life started is gone."""
        of_this_life = {event["pid"] for event in bot.events() if event["event"] == "agent.spawned"}
        assert {pid for pid in self.agent.pids() if alive(pid)} <= of_this_life

    def check(self) -> None:
        """Each prompt reached an agent at most once, has exactly one end, and the database is whole."""
        sent = Counter(self.agent.prompts())
        assert [text for text, count in sent.items() if count > 1] == []
        without = {prompt.word: self.ends(prompt) for prompt in self.posted if len(self.ends(prompt)) != 1}
        assert without == {}
        never_sent = [p.word for p in self.posted if self.ends(p) == ["answered"] and not sent[p.word]]
        assert never_sent == []
        with sqlite3.connect(self.directory / "state" / "weft" / "weft.db") as database:
            since = dict(database.execute("select thread_id, since from notices"))
            kept = {turn for (turn,) in database.execute("select turn_id from transcripts")}
        # Whoever sees Details below an end has to get them, whenever the bot was killed (V2).
        assert [p.word for p in self.posted if self.ends(p) == ["answered"] and p.message_id not in kept] == []
        for prompt in self.posted:
            # A notice may outlive its run while Discord takes no deletion, if the next run would find it.
            messages = self._of_weft(prompt.thread_id)
            notices = [one for one in messages if "weft:drop:" in repr(one.components)]
            assert all(since.get(prompt.thread_id, inf) <= notice.id for notice in notices)
            shown = "".join(message.content for message in messages if message not in notices)
            assert self.ends(prompt) != ["answered"] or shown.count(prompt.word) == 1
        with sqlite3.connect(self.directory / "state" / "weft" / "weft.db") as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            assert database.execute("select count(*) from prompts where outcome is null").fetchone() == (0,)


async def campaign(directory: Path, seed: int, kills: int) -> None:
    steps: list[Step] = [
        {"tool": {"title": "look"}},
        {"text": "-"},
        {"pause": 0.05},
        {"echo": True, "chunks": 2, "delay": 0.05},
    ]
    agent = scenario(directory, steps, resume=True)
    async with FakeDiscord() as discord:
        game = Campaign(directory, discord, agent, Random(seed))
        await game.first_life()
        for _ in range(kills):
            await game.one_life()
        await game.settle()
        game.check()
        discord.assert_clean(allow={THREAD_EXISTS})


@pytest.mark.long(11)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, *in_soak([2])])
async def test_kills_at_random_moments_lose_nothing_and_run_nothing_twice(tmp_path: Path, seed: int) -> None:
    """R2, R6, O1, P9, S3: with the other seed ten kills in all."""
    await campaign(tmp_path, seed, 5)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(long_run(20, 1)))
async def test_many_kills_lose_nothing_and_run_nothing_twice(tmp_path: Path, seed: int) -> None:
    """R2, R6, O1, P9: 200 kills in all."""
    await campaign(tmp_path, 100 + seed, 10)
