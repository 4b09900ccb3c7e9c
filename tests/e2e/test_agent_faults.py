"""What goes wrong with an agent that runs: each fault, what its thread is told, and a witness that streams through it.

    fault                                    test
    dies mid-turn: exit, SIGSEGV, SIGKILL    test_a_death_in_the_middle_of_a_turn_is_told_with_how_it_came
    and can't resume                         test_after_a_death_without_resume_the_thread_is_told_that_it_starts_afresh
    dies between turns                       test_an_idle_agent_that_was_killed_is_replaced_without_a_word
    the inner program dies                   test_two_internal_errors_in_a_row_get_the_thread_a_new_process
    alive but silent                         test_silence_is_reported_in_the_thread
                                             test_a_silent_agent_is_ended_at_the_hard_timeout_and_the_queue_goes_on
    signs of life without progress           test_signs_of_life_do_not_put_off_the_hard_timeout
    broken lines                             test_broken_lines_in_the_middle_of_a_turn_change_nothing
    a last line that is cut off              test_a_last_line_that_is_cut_off_by_the_end_is_no_fault_of_its_own
    wrong response ids                       test_a_response_with_a_wrong_id_does_not_end_the_turn
    two responses                            test_the_first_of_two_responses_counts_and_the_second_is_not_the_next_turns
    a late response of a cancelled turn      test_a_second_response_after_a_cancel_does_not_end_the_next_turn
    chunks after the response                test_chunks_within_the_drain_belong_to_the_turn
    unknown updates and methods              test_unknown_requests_are_refused_at_once_and_unknown_notifications_ignored
    a permission asked twice or in no turn   test_a_permission_asked_twice_under_one_id_costs_nothing

Elsewhere: a death while a grandchild holds stdout, a resume after it, errors of each agent (test_failures); text after
the drain (test_manners); a cancel that is answered end_turn, a session that survives a stop (test_stop); permission
requests that time out, are withdrawn or come after the end (test_permission); floods (test_agent_flood);
ends (test_agent_end_faults).
"""

from __future__ import annotations

import base64
import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from bot import app
from bot.config import Settings
from bot.outcome import Outcome
from bot.reply import render
from bot.reply.pacing import Pacing
from bot.work.desk import DeskLimits
from tests.agents import Step, alive, scenario
from tests.agents.scenario import text_update, usage_update
from tests.e2e.play import Play, play
from tests.e2e.witness import witnessed, words

pytestmark = pytest.mark.asyncio

END: Step = {"respond": {"stopReason": "end_turn"}}
NOTICED = 3.0
"""Seconds in which a death is told in the thread: 1 s is promised for noticing it, the rest is this machine's."""


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "described"),
    [
        ({"exit": 1}, "exit status 1"),
        ({"exit": 0}, "exit status 0"),
        ({"kill": signal.SIGSEGV}, "signal 11 (SIGSEGV)"),
        ({"kill": signal.SIGKILL}, "signal 9 (SIGKILL)"),
    ],
    ids=["exit 1", "exit 0", "SIGSEGV", "SIGKILL"],
)
async def test_a_death_in_the_middle_of_a_turn_is_told_with_how_it_came(
    tmp_path: Path, death: Step, described: str
) -> None:
    """T1, O1, O4: the text so far is kept."""
    dying: list[Step] = [{"text": "so far", "chunks": 3}, {"mark": "now"}, death]
    agent = scenario(tmp_path, words=words(tmp_path, die=dying))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("die")
        await agent.seen("mark")
        with anyio.fail_after(NOTICED):
            assert await game.outcome(thread_id) is Outcome.AGENT_DIED
        assert game.shown(thread_id).startswith(f"so far\n⚠️ **agent_died**: {described}\n-# ")


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


async def test_an_idle_agent_that_was_killed_is_replaced_without_a_word(tmp_path: Path) -> None:
    """P8, P10"""
    agent = scenario(tmp_path, words=words(tmp_path), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        os.kill(agent.pids()[1], signal.SIGKILL)
        await let_go(game, thread_id)
        assert await game.outcome(await game.say(thread_id, "two")) is Outcome.ANSWERED
        assert len(agent.received("session/resume")) == 1
        assert "⚠️" not in game.shown(thread_id)
        assert "afresh" not in game.shown(thread_id)


async def let_go(game: Play, thread_id: int) -> None:
    """Wait until the bot has noticed that the thread's agent is gone."""
    with anyio.fail_after(NOTICED):
        while game.on_stage.bot.pool.status(thread_id) is not None:  # noqa: ASYNC110  nobody is told of it
            await anyio.sleep(0.01)


async def test_two_internal_errors_in_a_row_get_the_thread_a_new_process(tmp_path: Path) -> None:
    """P8, O1: the program inside is dead and its adapter lives; the session is kept."""
    failing: list[Step] = [{"error": {"code": -32603, "message": "the program inside has ended"}}]
    agent = scenario(tmp_path, words=words(tmp_path, fail=failing), resume=True)
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("fail")
        assert outcome is Outcome.FAILED
        assert "⚠️ **failed**: `the program inside has ended`\n-# " in game.shown(thread_id)
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


# --- silence ---------------------------------------------------------------------------------------------------------


async def test_silence_is_reported_in_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T7: beside the Stop button; the agent is not ended for it."""
    monkeypatch.setattr(render, "SILENCE", 0.2)
    limits = app.desk_limits

    def quick(settings: Settings) -> DeskLimits:
        return replace(limits(settings), pacing=Pacing(interval=0.02, refresh=0.1))

    monkeypatch.setattr(app, "desk_limits", quick)
    agent = scenario(tmp_path, words=words(tmp_path, hush=[{"text": "thinking"}, {"hang": True}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("hush")
        await game.until_shown(thread_id, "thinking\n-# ⏳ 0 s · no sign of life for 0 s")
        (reply,) = game.replies(thread_id)
        assert reply.components
        assert alive(agent.pids()[1])
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_a_silent_agent_is_ended_at_the_hard_timeout_and_the_queue_goes_on(tmp_path: Path) -> None:
    """T2, T1, Q7: probing a process that lives changes nothing."""
    silent: list[Step] = [{"ignore_cancel": True}, {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, words={"hush": silent}, resume=True)
    async with play(tmp_path, agent, hard_timeout=0.6, cancel_grace=0.2, liveness_interval=0.05) as game:
        thread_id = await game.mention("hush")
        await agent.heard("session/prompt")
        waiting = await game.say(thread_id, "next")
        assert await game.outcome(thread_id) is Outcome.TIMED_OUT
        assert game.replies(thread_id)[0].content.startswith("so far\n⚠️ **timed_out**\n-# ")
        assert await game.outcome(waiting) is Outcome.ANSWERED
        first, second = agent.pids()
        assert (alive(first), alive(second)) == (False, True)


async def test_signs_of_life_do_not_put_off_the_hard_timeout(tmp_path: Path) -> None:
    """T2: an absolute deadline, whatever the agent sends."""
    busy: list[Step] = [{"update": usage_update()}, {"pause": 0.02}]
    agent = scenario(tmp_path, busy * 500)
    async with play(tmp_path, agent, hard_timeout=0.4) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.TIMED_OUT
        assert game.shown(thread_id).startswith("⚠️ **timed_out**\n-# ")
        assert len(agent.received("session/cancel")) == 1


# --- broken output ---------------------------------------------------------------------------------------------------

CHUNK = '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":%s}}'
BROKEN: list[bytes] = [
    b"",
    b"\r",
    b"\x00\x00",
    b"\xff\xfe\x80",
    b"\xef\xbb\xbf",
    b"{",
    b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'[{"jsonrpc":"2.0","method":"session/update","params":{}}]',
    b'{"jsonrpc":"2.0","method":5}',
    b'{"jsonrpc":"2.0","method":"session/update","params":[]}',
    b'{"jsonrpc":"2.0","method":"session/update","params":null}',
    b'{"jsonrpc":"2.0","method":"session/update"}{"jsonrpc":"2.0","method":"session/update"}',
    b'{"jsonrpc":"2.0","id":NaN,"result":{}}',
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"result":{}}',
    b'{"jsonrpc":"2.0","id":1e400,"result":{}}',
    b'{"jsonrpc":"2.0","id":[],"result":{}}',
    b'{"jsonrpc":"2.0","id":{},"error":"no object"}',
    b'{"jsonrpc":"2.0"}',
    *((CHUNK % update).encode() for update in ("null", "5", "{}", '{"sessionUpdate":null}', '{"sessionUpdate":7}')),
    (CHUNK % '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"\\ud800"}}').encode(),
]


def raw(line: bytes, end: str = "\n") -> Step:
    return {"raw": base64.b64encode(line).decode(), "base64": True, "end": end}


async def test_broken_lines_in_the_middle_of_a_turn_change_nothing(tmp_path: Path) -> None:
    """T9: what comes before and after is whole."""
    steps: list[Step] = []
    for number, line in enumerate(BROKEN):
        steps += [raw(line), {"text": f"{number} ", "id": "m1"}]
    agent = scenario(tmp_path, words=words(tmp_path, noisy=steps))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("noisy")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("".join(f"{number} " for number in range(len(BROKEN))) + "\n-# ")
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert len(agent.pids()) == 2


async def test_a_last_line_that_is_cut_off_by_the_end_is_no_fault_of_its_own(tmp_path: Path) -> None:
    """T9, T1"""
    steps: list[Step] = [{"text": "so far"}, raw(b'{"jsonrpc":"2.0","method":"session/upd', end=""), {"exit": 2}]
    agent = scenario(tmp_path, words=words(tmp_path, cut=steps))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("cut")
        assert outcome is Outcome.AGENT_DIED
        assert game.shown(thread_id).startswith("so far\n⚠️ **agent_died**: exit status 2\n-# ")


PROMPT_ID = 3
"""The id of the first prompt: the handshake and the session came before it."""


async def test_a_response_with_a_wrong_id_does_not_end_the_turn(tmp_path: Path) -> None:
    """T5: unknown ids, and the right one in another type."""
    wrong = [str(PROMPT_ID), PROMPT_ID + 0.5, None, True, 999, -1, 0]
    early: list[Step] = [{"respond": {"stopReason": "refusal"}, "id": number} for number in wrong]
    agent = scenario(tmp_path, [{"text": "a "}, *early, {"text": "b"}, END])
    async with play(tmp_path, agent, drain=0.0) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("a b\n-# ")
        assert "refused" not in game.shown(thread_id)
        (prompt,) = agent.received("session/prompt")
        assert prompt["id"] == PROMPT_ID


async def test_the_first_of_two_responses_counts_and_the_second_is_not_the_next_turns(tmp_path: Path) -> None:
    """T5, O3"""
    twice: list[Step] = [{"text": "one"}, END, {"respond": {"stopReason": "refusal"}}]
    agent = scenario(tmp_path, words=words(tmp_path, twice=twice))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("twice")
        assert outcome is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        assert "refused" not in game.shown(thread_id)


async def test_a_second_response_after_a_cancel_does_not_end_the_next_turn(tmp_path: Path) -> None:
    """T6, T5: the stop reason of a cancelled turn comes once more, with the next prompt."""
    late: list[Step] = [
        {"respond": {"stopReason": "cancelled"}, "id": PROMPT_ID},
        {"text": "the answer"},
        END,
    ]
    agent = scenario(tmp_path, words=words(tmp_path, slow=[{"text": "x"}, {"hang": True}], next=late))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "x")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("the answer\n-# ")


async def test_chunks_within_the_drain_belong_to_the_turn(tmp_path: Path) -> None:
    """T3"""
    chunks = [[at, text_update(f"{at} ", "m1")] for at in (0.01, 0.15, 0.2, 0.25)]
    agent = scenario(tmp_path, words=words(tmp_path, early=[{"text": "first ", "id": "m1"}, {"late": chunks}]))
    async with witnessed(tmp_path, agent, drain=0.5) as game:
        thread_id, outcome = await game.ask("early")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("first 0.01 0.15 0.2 0.25 \n-# ")


async def test_unknown_requests_are_refused_at_once_and_unknown_notifications_ignored(tmp_path: Path) -> None:
    """T5: the agent waits for each answer, and would hang for one that never comes."""
    methods = ["_vendor/x", "fs/read_text_file", "terminal/create", "session/update", "initialize"]
    steps: list[Step] = [
        {"update": {"sessionUpdate": "zzz", "content": {"type": "text", "text": "not shown"}}},
        raw(b'{"jsonrpc":"2.0","method":"_vendor/y","params":{}}'),
        *({"request": {"method": method}} for method in methods),
        {"text": "done"},
    ]
    agent = scenario(tmp_path, words=words(tmp_path, odd=steps))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("odd")
        assert outcome is Outcome.ANSWERED
        assert [entry["error"]["code"] for entry in agent.events("answer")] == [-32601] * len(methods)
        assert game.shown(thread_id).startswith("done\n-# ")


async def test_a_permission_asked_twice_under_one_id_costs_nothing(tmp_path: Path) -> None:
    """D6, T6: the turn can still be stopped, and the session goes on."""
    ask = {"sessionId": "?", "toolCall": {"toolCallId": "t"}, "options": []}
    same = b'{"jsonrpc":"2.0","id":"same","method":"session/request_permission","params":%s}'
    line = same % str(ask).replace("'", '"').encode()
    agent = scenario(tmp_path, words=words(tmp_path, ask=[raw(line), raw(line), {"text": "x"}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        await agent.seen("answer", 2)
        assert [entry["result"] for entry in agent.events("answer")] == [{"outcome": {"outcome": "cancelled"}}] * 2
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
