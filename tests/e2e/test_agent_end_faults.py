"""How an agent comes to its end, and what is left of it: nothing, whatever it does against that.

    fault                                    test
    ignores the cancel                       test_an_ignored_cancel_is_forced_and_what_waits_goes_on
    grandchildren                            test_nothing_that_an_agent_started_outlives_it
    never exits by itself                    test_an_agent_that_ignores_the_end_of_its_input_and_term_is_killed
    stops reading                            test_an_agent_that_reads_nothing_any_more_is_given_up
    leaks of ours                            test_many_agents_leave_no_pipe_and_no_process

A witness streams through each of them (O4). Elsewhere: a shell in a session of its own (test_stop, test_manners).
"""

from __future__ import annotations

from pathlib import Path

import anyio
import psutil
import pytest

from bot.outcome import Outcome
from tests.agents import Step, alive, scenario
from tests.e2e.play import LIMIT
from tests.e2e.witness import gone, hurry, witnessed, words

pytestmark = pytest.mark.asyncio


async def test_an_ignored_cancel_is_forced_and_what_waits_goes_on(tmp_path: Path) -> None:
    """T6, P9, Q7: cancel, grace, the whole tree killed; then the next prompt, in a new process."""
    hold: list[Step] = [{"ignore_cancel": True}, {"text": "word "}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, hold=hold), resume=True)
    async with witnessed(tmp_path, agent, cancel_grace=0.2) as game:
        thread_id = await game.mention("hold")
        await game.until_shown(thread_id, "word")
        waiting = await game.say(thread_id, "next")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert game.replies(thread_id)[0].content.startswith("word \n⏹ **stopped**: by `owner`\n-# ")
        assert await game.outcome(waiting) is Outcome.ANSWERED
        _, first, second = agent.pids()
        assert (alive(first), alive(second)) == (False, True)


SURVIVORS = {
    "ignores TERM": "trap '' TERM; echo $$ > {file}; while :; do sleep 600; done",
    "double fork": "(sh -c 'echo $$ > {file}; exec sleep 600' &)",
    "new session": "setsid sh -c 'echo $$ > {file}; exec sleep 600' &",
}


@pytest.mark.parametrize("how", SURVIVORS)
async def test_nothing_that_an_agent_started_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """P9, O4: also what holds its stdout, and what is nobody's child any more."""
    hurry(monkeypatch)
    file = tmp_path / "pid"
    spawn: Step = {"spawn_shell": SURVIVORS[how].format(file=file), "holds_stdout": True}
    wait: Step = {"wait_file": str(file)}
    agent = scenario(tmp_path, words=words(tmp_path, spawn=[spawn, wait, {"text": "started"}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("spawn")
        assert outcome is Outcome.ANSWERED
        await written(file)
        survivor = int(file.read_text())
        assert alive(survivor)
        await game.owner.slash(thread_id, "reset")
        await gone(agent.pids()[1], survivor)
        assert alive(agent.pids()[0])


async def written(file: Path) -> None:
    with anyio.fail_after(LIMIT):
        while not file.stat().st_size:  # noqa: ASYNC110, ASYNC240  another process writes it
            await anyio.sleep(0.01)


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
