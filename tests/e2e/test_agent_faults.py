"""What goes wrong with an agent that runs: each fault, what its thread is told, and a witness that streams through it.

    fault                                    test
    alive but silent                         test_silence_is_reported_in_the_thread
                                             test_a_silent_agent_is_ended_at_the_hard_timeout_and_the_queue_goes_on
    signs of life without progress           test_signs_of_life_do_not_put_off_the_hard_timeout
    broken lines                             test_broken_lines_in_the_middle_of_a_turn_change_nothing
    a last line that is cut off              test_a_last_line_that_is_cut_off_by_the_end_is_no_fault_of_its_own
    wrong response ids                       test_a_response_with_a_wrong_id_does_not_end_the_turn
    two responses                            test_the_first_of_two_responses_counts_and_the_second_is_not_the_next_turns
    unknown updates and methods              test_unknown_requests_are_refused_at_once_and_unknown_notifications_ignored
    errors, in each agent's shape            test_each_shape_of_an_error_ends_the_turn_with_its_message

Elsewhere: starts (test_agent_start_faults), deaths (test_agent_deaths), cancels that go wrong
(test_agent_cancel_faults), output after the response (test_agent_late_output), permission requests
(test_agent_permission_faults), floods (test_agent_flood), what is left of an agent (test_agent_ends).
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot import derived_settings
from bot.config import Settings
from bot.model import Outcome
from bot.reply import live_status
from bot.reply.pacing import Pacing
from bot.work.limits import WorkLimits
from tests.agents import Gate, Step, alive, scenario
from tests.agents.behaviours import auth_error, claude_error, codex_error, gemini_error, opencode_error
from tests.agents.scenario import usage_update
from tests.clock import let_pass
from tests.e2e.play import LIMIT, play
from tests.e2e.witness import conversing, witnessed, words

pytestmark = pytest.mark.asyncio

END: Step = {"respond": {"stopReason": "end_turn"}}


# --- silence -------------------------------------------------------------------------------------------------------


async def test_silence_is_reported_in_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T7: beside the Stop button; the agent is not ended for it."""
    monkeypatch.setattr(live_status, "SILENCE", 0.2)
    limits = derived_settings.work_limits

    def quick(settings: Settings) -> WorkLimits:
        return replace(limits(settings), pacing=Pacing(interval=0.02, refresh=0.1))

    monkeypatch.setattr(derived_settings, "work_limits", quick)
    agent = scenario(tmp_path, words=words(tmp_path, hush=[{"text": "thinking"}, {"hang": True}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("hush")
        silent = re.compile(r"thinking\n-# ⏳ \d+ s · no sign of life for \d+ s")
        await game.discord.wait_for(
            lambda _: game.opened(thread_id) and silent.search(game.shown(thread_id)), timeout=LIMIT
        )
        (reply,) = game.replies(thread_id)
        assert reply.components
        assert alive(agent.pids()[1])
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_a_silent_agent_is_ended_at_the_hard_timeout_and_the_queue_goes_on(tmp_path: Path) -> None:
    """T2, T1, Q7: probing a process that lives changes nothing."""
    silent: list[Step] = [{"ignore_cancel": True}, {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, words={"hush": silent}, resume=True)
    limits: dict[str, Any] = {"hard_timeout": 10.0, "cancel_grace": 0.2, "liveness_interval": 0.05}
    async with play(tmp_path, agent, **limits) as game, conversing(game) as witness:
        thread_id = await game.mention("hush")
        await game.until_shown(thread_id, "so far")
        waiting = await game.say(thread_id, "next")
        async with witness:
            let_pass(10)
        assert await game.outcome(thread_id) is Outcome.TIMED_OUT
        assert game.replies(thread_id)[0].content.startswith("so far\n⚠️ **Timed out.** Write again to go on.\n-# ")
        assert await game.outcome(waiting) is Outcome.ANSWERED
        assert [alive(pid) for pid in agent.pids()] == [True, False, True]


async def test_signs_of_life_do_not_put_off_the_hard_timeout(tmp_path: Path) -> None:
    """T2: an absolute deadline, whatever the agent sends."""
    busy: list[Step] = [{"update": usage_update()}, {"pause": 0.02}]
    agent = scenario(tmp_path, words={"busy": [{"mark": "busy"}, *busy * 500]})
    async with play(tmp_path, agent, hard_timeout=10.0) as game, conversing(game) as witness:
        thread_id = await game.mention("busy")
        await agent.seen("mark")
        async with witness:
            let_pass(10)
        assert await game.outcome(thread_id) is Outcome.TIMED_OUT
        assert game.shown(thread_id).startswith("⚠️ **Timed out.** Write again to go on.\n-# ")
        assert len(agent.received("session/cancel")) == 1
        assert len(agent.pids()) == 2


# --- broken output -------------------------------------------------------------------------------------------------

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
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
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
        told = "so far\n⚠️ **The agent crashed:** exit status 2. Write again to go on.\n-# "
        assert game.shown(thread_id).startswith(told)


PROMPT_ID = 3
"""The id of a process's first prompt: the handshake and the session came before it."""


async def test_a_response_with_a_wrong_id_does_not_end_the_turn(tmp_path: Path) -> None:
    """T5, O4: unknown ids, and the right one in another type."""
    wrong = [str(PROMPT_ID), float(PROMPT_ID), PROMPT_ID + 0.5, None, True, 999, -1, 0]
    early: list[Step] = [{"respond": {"stopReason": "refusal"}, "id": number} for number in wrong]
    agent = scenario(tmp_path, words=words(tmp_path, wrong=[{"text": "a "}, *early, {"text": "b"}, END]))
    async with witnessed(tmp_path, agent, drain=0.0) as game:
        thread_id, outcome = await game.ask("wrong")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("a b\n-# ")
        assert "refused" not in game.shown(thread_id)
        assert [prompt["id"] for prompt in agent.received("session/prompt")] == [PROMPT_ID] * 2


async def test_the_first_of_two_responses_counts_and_the_second_is_not_the_next_turns(tmp_path: Path) -> None:
    """T5, O3"""
    twice: list[Step] = [{"text": "one"}, END, {"respond": {"stopReason": "refusal"}}]
    agent = scenario(tmp_path, words=words(tmp_path, twice=twice))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("twice")
        assert outcome is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
        said = [reply.content.partition("\n-# ")[0] for reply in game.replies(thread_id)]
        assert said == ["one", "again"]


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


# --- errors --------------------------------------------------------------------------------------------------------


SHAPES: dict[str, tuple[list[Step], Outcome, list[str]]] = {
    "opencode": (opencode_error(), Outcome.FAILED, ["bad request"]),
    "claude": (claude_error(), Outcome.FAILED, ["API Error: 400", "Internal error"]),
    "codex": (codex_error(), Outcome.ANSWERED, ["stream disconnected"]),
    "gemini401": (gemini_error(401, "unauthorized"), Outcome.FAILED, ["unauthorized"]),
    "gemini500": (gemini_error(500), Outcome.FAILED, ["terminated"]),
    "login": ([{"text": "so far "}, *auth_error()], Outcome.FAILED, ["so far", "log in"]),
}


async def test_each_shape_of_an_error_ends_the_turn_with_its_message(tmp_path: Path) -> None:
    """O1, O4: the four agents tell their model's failures in four ways."""
    agent = scenario(tmp_path, words={name: steps for name, (steps, _, _) in SHAPES.items()})
    async with play(tmp_path, agent) as game:
        threads = {name: await game.mention(name) for name in SHAPES}
        for name, (_, outcome, words) in SHAPES.items():
            assert (name, await game.outcome(threads[name])) == (name, outcome)
            assert [word for word in words if word not in game.shown(threads[name])] == []
        for thread_id in threads.values():
            assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_a_failure_in_one_thread_changes_nothing_in_another(tmp_path: Path) -> None:
    """O4: a witness streams on while its neighbour dies."""
    gate = Gate(tmp_path / "gate")
    words = {"witness": [{"text": "one "}, gate.step, {"text": "two"}], "die": [{"text": "x"}, {"kill": 11}]}
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent) as game:
        witness = await game.mention("witness")
        await game.until_shown(witness, "one")
        _, outcome = await game.ask("die")
        assert outcome is Outcome.AGENT_DIED
        gate.open()
        assert await game.outcome(witness) is Outcome.ANSWERED
        assert "one two" in game.shown(witness)
        assert "died" not in game.shown(witness)
