"""How an agent comes to its end, whatever it does against that.

    fault                                    test
    never exits by itself                    test_an_agent_that_ignores_the_end_of_its_input_and_term_is_killed
    stops reading                            test_an_agent_that_reads_nothing_any_more_is_given_up
    leaks of ours                            test_many_agents_leave_no_pipe_and_no_process

A witness streams through each of them (O4). What it started: test_agent_survivors.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import psutil
import pytest

from bot.model import Outcome
from tests.agents import Step, alive, scenario
from tests.e2e.play import LIMIT
from tests.e2e.witness import gone, hurry, witnessed, words

pytestmark = pytest.mark.asyncio


async def test_an_agent_that_ignores_the_end_of_its_input_and_term_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: within the ladder's bound, while the thread's next message is answered by a new process."""
    hurry(monkeypatch)
    start = {"after": 1, "first": 2, "ignore_eof": True, "ignore_term": True}
    agent = scenario(tmp_path, words=words(tmp_path), start=start)
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        await game.owner.slash(thread_id, "reset")
        with anyio.fail_after(8):
            assert await game.outcome(await game.say(thread_id, "two")) is Outcome.ANSWERED
        assert not alive(agent.pids()[1])


async def test_an_agent_that_reads_nothing_any_more_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T1, P10, O4: our answers to its requests fill the pipe; nobody else waits for that."""
    hurry(monkeypatch, write=0.3)
    ask: Step = {"request": {"method": "x" * 200}, "wait": False}
    agent = scenario(
        tmp_path, words=words(tmp_path, deaf=[{"text": "so far"}, {"deaf": True}, *[ask] * 600, {"hang": True}])
    )
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("deaf")
        assert outcome is Outcome.FAILED
        assert game.shown(thread_id).startswith("so far\n⚠️ **failed**: `the agent read nothing for 0.3 s`\n-# ")
        await gone(agent.pids()[1])
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_many_agents_leave_no_pipe_and_no_process(tmp_path: Path) -> None:
    """P9: started, used, and ended by themselves or by a reset."""
    agent = scenario(tmp_path, words=words(tmp_path, die=[{"kill": 9}]))
    async with witnessed(tmp_path, agent) as game:
        before = ours()
        for text in ("die", "hello") * 4:
            thread_id, _ = await game.ask(text)
            await game.owner.slash(thread_id, "reset")
        await gone(*agent.pids()[1:])
        with anyio.fail_after(LIMIT):
            while ours() != before:  # noqa: ASYNC110  the connection closes its ends after the process is gone
                await anyio.sleep(0.01)


def ours() -> tuple[int, int]:
    """How many pipes are open, and how many children there are, zombies counted."""
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum(link.startswith("pipe:") for link in links), len(psutil.Process().children())
