"""How an agent comes to its end, whatever it does against it, and that nothing it started outlives it by 5 s (P9).

The agent has started, each in a session of its own and with the agent's stdout: a shell that ignores TERM, a process
that was forked twice, one that called setsid. What belongs to an agent is counted by the mark in its environment.

    end                                      test
    exit, SIGSEGV, SIGKILL                   test_nothing_outlives_an_agent_that_dies_in_a_turn
    a death between turns                    test_nothing_outlives_an_agent_that_dies_between_turns
    a stop that it ignores                   test_nothing_outlives_an_agent_that_ignores_the_cancel
    the hard timeout                         test_nothing_outlives_an_agent_that_ran_into_the_hard_timeout
    a reset                                  test_nothing_outlives_an_agent_that_is_reset
    suspended for another thread             test_nothing_outlives_an_agent_that_makes_room_for_another
    its thread was deleted                   test_nothing_outlives_an_agent_whose_thread_is_deleted
    the end of the bot                       test_nothing_outlives_the_bot
    it ignores EOF and TERM                  test_an_agent_that_ignores_the_end_of_its_input_and_term_is_killed
    it reads nothing any more                test_an_agent_that_reads_nothing_any_more_is_given_up
    many of them: leaks of ours              test_many_agents_leave_no_pipe_and_no_process

A witness streams through each of them (O4).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest

from acp.shutdown import MARKER, StopLimits
from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, alive, scenario
from tests.clock import let_pass
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.witness import conversing, gone, hurry, witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

assert StopLimits().eof + StopLimits().term + StopLimits().kill <= 5.0

KINDS = {
    "ignores-term": "trap '' TERM; echo $$ > {file}; while :; do sleep 600; done",
    "double-fork": "(sh -c 'echo $$ > {file}; exec sleep 600' &)",
    "new-session": "setsid sh -c 'echo $$ > {file}; exec sleep 600' &",
}


@pytest.fixture(autouse=True)
def _end_what_a_failed_test_left(tmp_path: Path) -> Iterator[None]:
    yield
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if tmp_path in (entry / "cwd").readlink().parents:
                os.kill(int(entry.name), signal.SIGKILL)


def brood(directory: Path) -> list[Step]:
    """The steps that start one of each kind, and go on once all run."""
    files = {kind: directory / kind for kind in KINDS}
    start: list[Step] = [
        {"spawn_shell": command.format(file=files[kind]), "holds_stdout": True} for kind, command in KINDS.items()
    ]
    return [*start, *({"wait_file": str(file)} for file in files.values())]


def family(agent: ScriptedAgent, number: int = 1) -> list[int]:
    """The living processes that carry the mark of the agent's process so-and-so-many."""
    marker = agent.events("start")[number]["environment"]["marker"]
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if wanted in (entry / "environ").read_bytes().split(b"\0") and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def grown(agent: ScriptedAgent, directory: Path) -> list[int]:
    """The family of the agent, in which one of each kind is."""
    members = family(agent)
    pids = {int((directory / kind).read_text()) for kind in KINDS}
    assert pids | {agent.pids()[1]} <= set(members)
    assert len(pids) == len(KINDS)
    return members


async def extinct(agent: ScriptedAgent, members: list[int]) -> None:
    """Wait until nothing of the family is left, nor of what joined it since; see that the witness's agent lives."""
    with anyio.fail_after(LIMIT):
        while any(alive(pid) for pid in members) or family(agent):  # noqa: ASYNC110  the kernel sends no event
            await anyio.sleep(0.01)
    assert alive(agent.pids()[0])


async def started(game: Play, text: str = "go") -> int:
    """Have the brood started in a turn, and return the thread."""
    thread_id = await game.mention(text)
    await game.until_shown(thread_id, "so far")
    return thread_id


def ours() -> tuple[int, int]:
    """How many pipes are open, and how many children there are, zombies counted."""
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum(link.startswith("pipe:") for link in links), len(psutil.Process().children())


@pytest.mark.parametrize(
    ("death", "described"),
    [
        ({"kill": signal.SIGKILL}, "signal 9 (SIGKILL)"),
        *in_soak([({"exit": 3}, "exit status 3"), ({"kill": signal.SIGSEGV}, "signal 11 (SIGSEGV)")]),
    ],
    ids=["SIGKILL", "exit", "SIGSEGV"],
)
async def test_nothing_outlives_an_agent_that_dies_in_a_turn(tmp_path: Path, death: Step, described: str) -> None:
    """P9, T1"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words=words(tmp_path, go=[*brood(tmp_path), {"text": "so far"}, gate.step, death]))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await started(game)
        members = grown(agent, tmp_path)
        gate.open()
        await extinct(agent, members)
        assert await game.outcome(thread_id) is Outcome.AGENT_DIED
        told = f"so far\n⚠️ **The agent crashed:** {described}. Write again to go on.\n-# "
        assert game.shown(thread_id).startswith(told)


async def test_nothing_outlives_an_agent_that_dies_between_turns(tmp_path: Path) -> None:
    """P9, P8"""
    agent = scenario(tmp_path, words=words(tmp_path, go=[*brood(tmp_path), {"text": "so far"}]), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        members = grown(agent, tmp_path)
        os.kill(agent.pids()[1], signal.SIGKILL)
        await extinct(agent, members)
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_nothing_outlives_an_agent_that_ignores_the_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9, T6"""
    hurry(monkeypatch)
    deaf: list[Step] = [{"ignore_cancel": True}, *brood(tmp_path), {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, go=deaf))
    async with witnessed(tmp_path, agent, cancel_grace=0.3) as game:
        thread_id = await started(game)
        members = grown(agent, tmp_path)
        await game.stop(thread_id)
        await extinct(agent, members)
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_nothing_outlives_an_agent_that_ran_into_the_hard_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9, T2"""
    hurry(monkeypatch)
    deaf: list[Step] = [{"ignore_cancel": True}, *brood(tmp_path), {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, words={"go": deaf})
    async with play(tmp_path, agent, hard_timeout=10.0, cancel_grace=0.2) as game, conversing(game) as witness:
        thread_id = await started(game)
        members = grown(agent, tmp_path)
        async with witness:
            let_pass(10)
        assert await game.outcome(thread_id) is Outcome.TIMED_OUT
        await extinct(agent, members)


async def test_nothing_outlives_an_agent_that_is_reset(tmp_path: Path) -> None:
    """P9, Q8: with the ladder's usual times."""
    agent = scenario(tmp_path, words=words(tmp_path, go=[*brood(tmp_path), {"text": "so far"}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        members = grown(agent, tmp_path)
        await game.owner.slash(thread_id, "reset")
        await extinct(agent, members)


async def test_nothing_outlives_an_agent_that_makes_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9, P4, P5: the newcomer starts once it is gone."""
    hurry(monkeypatch)
    agent = scenario(tmp_path, words=words(tmp_path, go=[*brood(tmp_path), {"text": "so far"}]))
    async with witnessed(tmp_path, agent, max_agents=2) as game:
        await game.ask("go")
        members = grown(agent, tmp_path)
        newcomer = await game.mention("hello")
        await extinct(agent, members)
        assert await game.outcome(newcomer) is Outcome.ANSWERED


async def test_nothing_outlives_an_agent_whose_thread_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9, D10"""
    hurry(monkeypatch)
    steps: list[Step] = [*brood(tmp_path), {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, go=steps))
    async with witnessed(tmp_path, agent, clean=False) as game:
        thread_id = await started(game)
        members = grown(agent, tmp_path)
        await game.discord.delete_channel(thread_id)
        await extinct(agent, members)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        game.discord.assert_clean(allow=[404])


async def test_nothing_outlives_the_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P9, R1: nothing is left when its end is over."""
    hurry(monkeypatch)
    agent = scenario(tmp_path, words=words(tmp_path, go=[*brood(tmp_path), {"text": "so far"}]))
    async with witnessed(tmp_path, agent) as game:
        await game.ask("go")
        members = grown(agent, tmp_path)
    assert [pid for pid in members if alive(pid)] == []
    assert [family(agent, number) for number in range(2)] == [[], []]


# --- an agent that does not want to end ----------------------------------------------------------------------------


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
        with anyio.fail_after(30):
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
        assert game.shown(thread_id).startswith(
            "so far\n⚠️ **Failed:** `the agent read nothing for 0.3 s`. Send it again to retry.\n-# "
        )
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
