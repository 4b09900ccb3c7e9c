"""Two bots that are killed, stopped and cut off at random: each prompt has one end, and one bot speaks at a time.

The moments and what is posted come from a seed; which part of the work an event hits depends on the machine.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import pytest

from bot.config import EX_LEASE_LOST
from tests import postgres
from tests.agents import Step
from tests.e2e.pair import Pair, Side, pair
from tests.e2e.process import Run
from tests.e2e.test_kills import Campaign
from tests.repeat import long_run

pytestmark = [pytest.mark.asyncio, pytest.mark.soak, postgres.needed]

EVENTS = ("kill", "stop", "swallow", "reset")
STEPS: list[Step] = [{"text": "-"}, {"pause": 0.05}, {"echo": True, "chunks": 2, "delay": 0.05}]


@dataclass(slots=True)
class Service:
    """A bot that is started again whenever it ends, as systemd does.

    Attributes:
        codes: how it ended, each time.
    """

    side: Side
    bot: Run | None = None
    over: anyio.Event = field(default_factory=anyio.Event)
    codes: list[int] = field(default_factory=list)

    async def run(self) -> None:
        while not self.over.is_set():
            async with self.side.start() as self.bot, anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_when_over)
                self.codes.append(await self.bot.process.wait())
                tasks.cancel_scope.cancel()

    async def _end_when_over(self) -> None:
        await self.over.wait()
        assert self.bot is not None
        self.bot.process.send_signal(signal.SIGTERM)

    async def happens(self, event: str, seconds: float) -> None:
        """Have something happen to the bot, and be over after so many seconds."""
        if self.bot is None:
            return
        process, database = self.bot.process, self.side.database
        if event == "kill":
            process.kill()
        elif event == "stop":
            process.send_signal(signal.SIGSTOP)
            await anyio.sleep(seconds)
            process.send_signal(signal.SIGCONT)
        else:
            database.swallowing, database.away = event == "swallow", event == "reset"
            if database.away:
                database.disconnect()
            await anyio.sleep(seconds)
            database.swallowing = database.away = False
            database.disconnect()  # what was swallowed can't be made up for


async def chaos(two: Pair, random: Random, events: int) -> None:
    game = Campaign(two.one.directory, two.discord, two.one.agent, random)
    services = [Service(two.one), Service(two.two)]
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(service.run)
        # From the first answer on the channel is known, and mentions there are looked for.
        await two.discord.wait_for(lambda fd: fd.ready.is_set(), timeout=60)
        await game.post()
        await game.all_ended()
        await two.known_places()
        async with anyio.create_task_group() as happening:
            for _ in range(events):
                await game.post()
                happening.start_soon(random.choice(services).happens, random.choice(EVENTS), random.uniform(0.5, 7))
                await anyio.sleep(random.uniform(0.1, 3))
                await game.post()
        await game.all_ended()
        for service in services:
            service.over.set()
    assert {prompt.word: game.ends(prompt) for prompt in game.posted if len(game.ends(prompt)) != 1} == {}
    assert [text for text, count in Counter(two.prompts()).items() if count > 1] == []
    assert {code for service in services for code in service.codes} <= {0, -signal.SIGKILL, EX_LEASE_LOST}
    # Whenever another one speaks than before, it has taken the lease.
    sent = sorted([(when, side is two.one) for side in (two.one, two.two) for when in side.relay.sent])
    changes = sum(before[1] != after[1] for before, after in itertools.pairwise(sent))
    assert changes < two.takings()


@pytest.mark.long(40)
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(long_run(12, 1)))
async def test_whatever_happens_to_two_bots_each_prompt_has_one_end(tmp_path: Path, seed: int) -> None:
    """R10, R2, O1."""
    async with pair(tmp_path, turns=[STEPS], WEFT_MAX_AGENTS="4") as two:
        await chaos(two, Random(seed), 8)
