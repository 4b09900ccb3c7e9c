"""Many threads, few agents: nobody is forgotten, nobody waits for somebody else's turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Gate, alive, scenario
from tests.e2e.play import play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]


async def test_eight_first_messages_of_one_thread_make_one_agent(tmp_path: Path) -> None:
    """P1, Q1."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, start=gate.start)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("m0")
        await game.discord.wait_for(lambda _: game.opened(thread_id))
        rest = [await game.say(thread_id, f"m{number}") for number in range(1, 8)]
        gate.open()
        outcomes = [await game.outcome(message) for message in (thread_id, *rest)]
        assert outcomes == [Outcome.ANSWERED] * 8
        assert agent.prompts() == [f"m{number}" for number in range(8)]
        assert len(agent.pids()) == 1


async def test_four_threads_with_two_agents_are_all_answered(tmp_path: Path) -> None:
    """P4, Q6: capacity 2, lane 2; at most two agents live at any time."""
    gates = [Gate(tmp_path / f"gate{number}") for number in range(4)]
    words = {f"t{number}": [gate.step, {"text": f"answer {number}"}] for number, gate in enumerate(gates)}
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent, max_agents=2) as game:
        threads = [await game.mention(f"t{number}") for number in range(4)]
        await agent.heard("session/prompt", 2)
        # Which two were first is Discord's affair: each thread has to be opened.
        waiting = [thread for number, thread in enumerate(threads) if f"t{number}" not in agent.prompts()]
        for thread_id in waiting:
            await game.until_shown(thread_id, "Waiting for a free agent")
        # One that was started ahead for a thread that now waits has gone.
        assert sum(alive(pid) for pid in agent.pids()) == 2
        for gate in gates:
            gate.open()
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.ANSWERED] * 4
        for number, thread_id in enumerate(threads):
            assert f"answer {number}" in game.shown(thread_id)
        lives = [entry for entry in agent.log() if entry["event"] in ("start", "eof")]
        live = most = 0
        for entry in lives:
            live += 1 if entry["event"] == "start" else -1
            most = max(most, live)
        assert most == 2


async def test_an_idle_agent_is_suspended_for_a_newcomer_and_its_session_resumed_later(tmp_path: Path) -> None:
    """P4, P8."""
    agent = scenario(tmp_path, resume=True)
    async with play(tmp_path, agent, max_agents=1) as game:
        first, _ = await game.ask("one")
        second, outcome = await game.ask("two")
        assert outcome is Outcome.ANSWERED
        again = await game.say(first, "three")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert len(agent.pids()) == 3
        assert len(agent.received("session/resume")) == 1
        assert agent.prompts() == ["one", "two", "three"]
        assert second != first


async def test_the_lane_is_refilled_in_order_of_arrival(tmp_path: Path) -> None:
    """Q6: eight threads, one agent: they are answered one after the other, oldest first."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, max_agents=1) as game:
        threads = [await game.mention(f"t{number}") for number in range(8)]
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.ANSWERED] * 8
        assert agent.prompts() == [f"t{number}" for number in range(8)]


async def test_the_older_message_gets_the_agent_when_a_turn_ends(tmp_path: Path) -> None:
    """Q6, P4: a younger newcomer does not take a thread's agent from under the message that waits there."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": [gate.step, {"text": "done"}]})
    async with play(tmp_path, agent, max_agents=1) as game:
        thread_id = await game.mention("first")
        await agent.heard("session/prompt")
        older = await game.say(thread_id, "older")
        younger = await game.mention("younger")
        await game.until_shown(younger, "Waiting for a free agent")
        gate.open()
        assert await game.outcome(younger) is Outcome.ANSWERED
        assert await game.outcome(older) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "older", "younger"]
