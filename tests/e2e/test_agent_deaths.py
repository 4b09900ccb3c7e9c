"""An agent that dies: noticed within a second, told with how it came, and the next message has an agent again.

    fault                                    test
    dies mid-turn: exit, SIGSEGV, SIGKILL    test_a_death_in_a_turn_is_noticed_within_a_second_and_told_with_how_it_came
    with a grandchild that holds stdout      the same
    with last words                          test_after_a_death_the_next_message_resumes_the_session_in_a_new_process
    and can't resume                         test_after_a_death_without_resume_the_thread_is_told_that_it_starts_afresh
    while a person is asked                  test_a_death_closes_the_card_that_was_open
    after its response                       test_a_death_right_after_the_response_is_no_end_of_the_turn
    dies between turns                       test_an_idle_agent_that_was_killed_is_replaced_without_a_word
    the inner program dies                   test_two_internal_errors_in_a_row_get_the_thread_a_new_process

A witness streams through each of them (O4). What is left of a dead agent: test_agent_ends. Below
the line stand deaths without a witness, and what becomes of the session.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from acp.errors import AgentExit
from acp.turn import Turn
from bot.model import Outcome
from tests.agents import Step, alive, scenario
from tests.e2e.play import Play, play
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

NOTICED = 1.0
"""Seconds from an agent's last sign to the moment in which its turn is over."""

TOLD = 30.0
"""Seconds until the thread shows it: how long that takes is Discord's and this machine's affair."""


def deaths(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect when turns learn that their agent is gone, by the clock that the agent's log has, too."""
    times: list[float] = []
    died = Turn.died

    def spy(turn: Turn, exit: AgentExit | None, now: float) -> None:  # noqa: A002  as in `Turn.died`
        times.append(now)
        died(turn, exit, now)

    monkeypatch.setattr(Turn, "died", spy)
    return times


@pytest.mark.parametrize("held", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["alone", "stdout held"])
@pytest.mark.parametrize(
    ("death", "described"),
    [
        ({"exit": 0}, "exit status 0"),
        ({"kill": signal.SIGSEGV}, "signal 11 (SIGSEGV)"),
        *in_soak([({"exit": 1}, "exit status 1"), ({"kill": signal.SIGKILL}, "signal 9 (SIGKILL)")]),
    ],
    ids=["exit 0", "SIGSEGV", "exit 1", "SIGKILL"],
)
async def test_a_death_in_a_turn_is_noticed_within_a_second_and_told_with_how_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Step, described: str, held: bool
) -> None:
    """T1, O1, O4: the text so far is kept."""
    grandchild: list[Step] = [{"spawn_shell": "sleep 600", "holds_stdout": True}] if held else []
    dying: list[Step] = [*grandchild, {"text": "so far", "chunks": 3}, {"mark": "now"}, death]
    agent = scenario(tmp_path, words=words(tmp_path, die=dying))
    noticed = deaths(monkeypatch)
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("die")
        (mark,) = await agent.seen("mark")
        with anyio.fail_after(TOLD):
            assert await game.outcome(thread_id) is Outcome.AGENT_DIED
        told = f"so far\n⚠️ **The agent crashed:** {described}. Write again to go on.\n-# "
        assert game.shown(thread_id).startswith(told)
        assert 0 <= noticed[0] - mark["t"] <= NOTICED


async def test_after_a_death_the_next_message_resumes_the_session_in_a_new_process(tmp_path: Path) -> None:
    """P8, P10, O1: the last line of stderr is told; the thread is not told of a new start."""
    dying: list[Step] = [{"text": "so far"}, {"stderr": "allocating\nout of memory\n"}, {"kill": 9}]
    agent = scenario(tmp_path, words=words(tmp_path, die=dying), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("die")
        line = (
            "so far\n⚠️ **The agent crashed:** signal 9 (SIGKILL), last said `out of memory`. Write again to go on.\n-# "
        )
        assert game.shown(thread_id).startswith(line)
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("again\n-# ")
        assert "afresh" not in game.shown(thread_id)
        (resumed,) = agent.received("session/resume")
        died = next(prompt for prompt in agent.received("session/prompt") if "die" in str(prompt))
        assert resumed["params"]["sessionId"] == died["params"]["sessionId"]
        assert len(agent.pids()) == 3


async def test_after_a_death_without_resume_the_thread_is_told_that_it_starts_afresh(tmp_path: Path) -> None:
    """P8, P10: the next message gets a new process and a new session, and says so."""
    agent = scenario(tmp_path, words=words(tmp_path, die=[{"kill": 9}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("die")
        assert outcome is Outcome.AGENT_DIED
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        said = [reply.content for reply in game.replies(thread_id)]
        assert "-# The agent no longer knew this conversation: it starts afresh." in said
        assert len(agent.pids()) == 3


async def test_a_death_closes_the_card_that_was_open(tmp_path: Path) -> None:
    """D6, T1, O1."""
    ask: list[Step] = [{"permission": {"tool": {"title": "make"}}, "wait": False}, {"mark": "asked"}]
    agent = scenario(tmp_path, words=words(tmp_path, ask=[*ask, {"hang": True}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("ask")
        card_id, _ = await game.card(thread_id)
        os.kill(agent.pids()[1], signal.SIGKILL)
        assert await game.outcome(thread_id) is Outcome.AGENT_DIED
        assert "⚠️ **The agent crashed:** signal 9 (SIGKILL). Write again to go on.\n-# " in game.shown(thread_id)
        card = game.discord.message(card_id)
        assert card.content.endswith("\n⏹ Cancelled: the turn ended before anyone answered.")
        assert card.components == []


async def test_a_death_right_after_the_response_is_no_end_of_the_turn(tmp_path: Path) -> None:
    """T1, O1: it was answered."""
    steps: list[Step] = [{"text": "all of it"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 1}]
    agent = scenario(tmp_path, words=words(tmp_path, done=steps), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("done")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("all of it\n-# ")
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_an_idle_agent_that_was_killed_is_replaced_without_a_word(tmp_path: Path) -> None:
    """P8, P10"""
    agent = scenario(tmp_path, words=words(tmp_path), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        os.kill(agent.pids()[1], signal.SIGKILL)
        await let_go(game, thread_id)
        assert await game.outcome(await game.say(thread_id, "two")) is Outcome.ANSWERED
        first, second = (reply.content for reply in game.replies(thread_id))
        assert (first[:7], second[:7]) == ("one\n-# ", "two\n-# ")
        assert len(agent.received("session/resume")) == 1


async def let_go(game: Play, thread_id: int) -> None:
    """Wait until the bot has noticed that the thread's agent is gone."""
    with anyio.fail_after(TOLD):
        while game.on_stage.bot.pool.status(thread_id) is not None:  # noqa: ASYNC110  nobody is told of it
            await anyio.sleep(0.01)


async def test_two_internal_errors_in_a_row_get_the_thread_a_new_process(tmp_path: Path) -> None:
    """P8, O1: the program inside is dead and its adapter lives; the session is kept."""
    error = {"code": -32603, "message": "Internal error", "data": {"details": "the program inside has ended"}}
    agent = scenario(tmp_path, words=words(tmp_path, fail=[{"error": error}]), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("fail")
        assert outcome is Outcome.FAILED
        line = "⚠️ **Failed:** `Internal error: the program inside has ended`. Send it again to retry.\n-# "
        assert game.shown(thread_id).startswith(line)
        assert await game.outcome(await game.say(thread_id, "works")) is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "fail")) is Outcome.FAILED
        assert len(agent.pids()) == 2
        assert await game.outcome(await game.say(thread_id, "fail")) is Outcome.FAILED
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert len(agent.pids()) == 3
        assert len(agent.received("session/resume")) == 1
        assert not alive(agent.pids()[1])


async def test_internal_errors_do_not_cost_a_session_that_could_not_be_had_again(tmp_path: Path) -> None:
    """P8: an agent without resume and load keeps its process."""
    failing: list[Step] = [{"error": {"code": -32603, "message": "overloaded"}}]
    agent = scenario(tmp_path, words=words(tmp_path, fail=failing))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("fail")
        for text in ("fail", "fail"):
            assert await game.outcome(await game.say(thread_id, text)) is Outcome.FAILED
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert len(agent.pids()) == 2


# --- without a witness: the text, the next message, the session ----------------------------------------------------


async def test_an_agent_that_dies_mid_turn_keeps_its_text_and_the_next_message_gets_a_new_one(tmp_path: Path) -> None:
    """T1, O1, P10: with the signal and the last line of stderr."""
    dying: list[Step] = [{"text": "so far"}, {"stderr": "out of memory\n"}, {"kill": 9}]
    agent = scenario(tmp_path, dying, [{"echo": True}], counter="log", resume=True)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.AGENT_DIED
        for part in ("so far", "The agent crashed", "signal 9 (SIGKILL)", "out of memory"):
            assert part in game.shown(thread_id)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.pids()) == 2
        assert len(agent.received("session/resume")) == 1


async def test_a_death_is_noticed_while_a_grandchild_keeps_stdout_open(tmp_path: Path) -> None:
    """T1, P9."""
    dying: list[Step] = [{"spawn_shell": "sleep 600", "holds_stdout": True}, {"text": "so far"}, {"exit": 3}]
    agent = scenario(tmp_path, dying)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.AGENT_DIED
        assert "exit status 3" in game.shown(thread_id)


async def test_an_agent_that_dies_between_turns_is_replaced_without_a_word(tmp_path: Path) -> None:
    """P8, P10: the session is resumed in a new process."""
    ending: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, ending, [{"echo": True}], counter="log", resume=True)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.pids()) == 2
        assert "died" not in game.shown(thread_id)


async def test_a_session_that_the_agent_forgot_starts_afresh_with_a_line(tmp_path: Path) -> None:
    """P8."""
    dying: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, dying, [{"echo": True}], counter="log", resume="unknown")
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert "starts afresh" in game.shown(thread_id)


async def test_a_replay_that_comes_after_the_load_is_not_shown_again(tmp_path: Path) -> None:
    """P8: gemini answers session/load before most of its replay."""
    ending: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, ending, [{"echo": True}], counter="log", behaviour="gemini", load="replay_after")
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert "earlier answer" not in game.shown(thread_id)
        assert "again" in game.shown(thread_id)
