"""A text that is put into a running turn: what is asked once more when it is its moment (Q2)."""

from __future__ import annotations

import anyio.lowlevel

from acp.snapshot import Phase
from acp.steering import Steering
from bot.model import Outcome, QueueMode
from bot.work.prompt import SAID_MEANWHILE
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import PlayedSession, running_work


class Listener:
    """The part of an agent that is steered, with what it was given."""

    def __init__(self, *, can_steer: bool) -> None:
        self.given: list[str | None] = []
        self._can_steer = can_steer

    def __call__(self, session: PlayedSession) -> None:
        session.can_steer = self._can_steer
        session.steer = self.steer  # type: ignore[attr-defined]

    def steer(self, _turn: object, prompt: list[object]) -> Steering:
        self.given += [getattr(block, "text", None) for block in prompt]
        return Steering(reached=True)


@in_virtual_time
async def test_a_text_that_the_agent_takes_is_part_of_the_turn() -> None:
    """Q2, O1"""
    agent = Listener(can_steer=True)
    async with running_work(mute=agent) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        work.post(2, "more", mode=QueueMode.STEER)
        await work.until(lambda: agent.given)
        work.agents.sessions[0].respond()
        assert sorted(await work.over(2)) == [(1, Outcome.ANSWERED), (2, Outcome.ANSWERED)]
        assert agent.given == ["more"]
        assert work.agents.prompted == ["mute"]


@in_virtual_time
async def test_a_text_for_an_agent_that_cannot_steer_runs_next() -> None:
    """Q2: the queue may know another session of the thread; that of the turn counts."""
    agent = Listener(can_steer=False)
    async with running_work(mute=agent) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        work.post(2, "more", mode=QueueMode.STEER)
        assert await work.over(2) == [(1, Outcome.SUPERSEDED), (2, Outcome.ANSWERED)]
        assert agent.given == []
        assert work.agents.prompted == ["mute", f"{SAID_MEANWHILE}\nmore"]
        assert work.store.calls.count(("started", 1)) == 1, "it is not written down as part of that turn"


@in_virtual_time
async def test_a_text_for_a_turn_that_has_its_answer_by_then_runs_next() -> None:
    """Q2, T3: it waited while another text was put in, and the turn is draining."""
    agent = Listener(can_steer=True)
    async with running_work(mute=agent) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        (running,) = work.dispatcher._runs.running.values()
        async with running.steering:
            work.post(2, "more", mode=QueueMode.STEER)
            await work.until(lambda: running.steering.statistics().tasks_waiting == 1)
            work.agents.sessions[0].respond()
        await anyio.lowlevel.checkpoint()
        assert running.turn.phase is Phase.DRAINING
        assert await work.over(2) == [(1, Outcome.ANSWERED), (2, Outcome.ANSWERED)]
        assert agent.given == []
        assert work.agents.prompted == ["mute", "more"]
        assert work.store.calls.count(("started", 1)) == 1, "it is not written down as part of that turn"
