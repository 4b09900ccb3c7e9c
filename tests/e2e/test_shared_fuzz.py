"""Threads that share few processes, and whatever people and agents do to them: each message has one end (O1, P11)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest

from bot.model import Outcome
from tests.agents import Step, alive, scenario
from tests.e2e.play import Play, play

pytestmark = pytest.mark.asyncio

THREADS, PROCESSES, SESSIONS, ROUNDS = 8, 2, 3, 25
WORDS: dict[str, list[Step]] = {
    "die": [{"text": "dying"}, {"kill": 9}],
    "deaf": [{"text": "deaf"}, {"hang": True, "ignore_cancel": True}],
    "long": [{"text": "long"}, {"hang": True}],
    "fail": [{"error": {"code": -32603, "message": "inside"}}],
}


class Room:
    """A game, its threads, and the messages whose ends are still to come."""

    def __init__(self, game: Play, seed: int) -> None:
        self.game = game
        self.random = Random(seed)
        self.threads: list[int] = []
        self.asked: list[int] = []

    async def open(self) -> None:
        thread_id = await self.game.mention("hello")
        self.threads.append(thread_id)
        self.asked.append(thread_id)
        await self.game.discord.wait_for(lambda _: self.game.opened(thread_id))

    async def step(self) -> None:
        if len(self.threads) < THREADS and self.random.random() < 0.5:
            await self.open()
            return
        thread_id = self.random.choice(self.threads)
        word = self.random.choice(("hello", "hello", "hello", "long", "long", "die", "deaf", "fail", "stop", "reset"))
        if word == "reset":
            await self.game.owner.slash(thread_id, "reset")
        elif word == "stop":
            await self.game.stop(thread_id)
        else:
            self.asked.append(await self.game.say(thread_id, word))

    async def end(self) -> list[Outcome]:
        """Stop whatever hangs until every message has its end."""
        outcomes = self.game.on_stage.outcomes
        for message in self.asked:
            while message not in outcomes:
                for thread_id in self.threads:
                    await self.game.stop(thread_id)
                with anyio.move_on_after(0.1):
                    await self.game.outcome(message)
        return [outcomes[message] for message in self.asked]

    async def pause(self) -> None:
        for _ in range(self.random.randrange(300)):
            await anyio.lowlevel.checkpoint()


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_every_message_has_one_end_and_no_process_is_one_too_many(
    tmp_path: Path, seed: int
) -> None:
    """P4, P11, O1, O4: turns, stops, resets, deaths, kills and internal errors in threads that share processes."""
    agent = scenario(tmp_path, words=WORDS, resume=True, close=seed % 2 == 0)
    async with play(tmp_path, agent, cancel_grace=0.1, max_agents=PROCESSES, sessions_per_process=SESSIONS) as game:
        room = Room(game, seed)
        await room.open()
        for _ in range(ROUNDS):
            await room.step()
            await room.pause()
            assert sum(alive(pid) for pid in agent.pids()) <= PROCESSES
        outcomes = await room.end()
        ends = {Outcome.ANSWERED, Outcome.STOPPED, Outcome.AGENT_DIED, Outcome.FAILED, Outcome.COULD_NOT_START}
        assert set(outcomes) <= ends
        assert Outcome.ANSWERED in outcomes
        for thread_id in room.threads:
            assert await game.outcome(await game.say(thread_id, "hello")) is Outcome.ANSWERED
