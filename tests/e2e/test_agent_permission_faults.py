"""Permission requests that go wrong: nothing is approved by default, nobody waits for ever, each has one answer.

    fault                                    test
    never answered                           test_a_request_that_nobody_answers_is_rejected_and_its_card_says_so
    and has no option that says no           test_a_request_that_can_not_be_rejected_is_cancelled_when_its_time_is_up
    no options at all                        test_a_request_without_options_is_cancelled_without_a_card
    malformed                                test_a_malformed_request_is_refused_and_the_turn_goes_on
    after the cancel                         test_a_request_after_the_cancel_is_cancelled_without_a_card
    after the end of the turn                test_a_request_after_the_end_of_the_turn_is_cancelled_without_a_card
    twice under one id                       test_a_request_that_comes_twice_under_one_id_is_one_card_and_one_answer
    of a session that nobody knows           test_a_request_of_an_unknown_session_is_cancelled
    a card that Discord refuses              test_a_request_whose_card_discord_refuses_is_cancelled_and_said_so
    a click after the end                    test_a_click_after_the_time_is_up_is_told_that_it_is_too_late

A witness streams through each of them (O4). Elsewhere: who may answer, requests that are withdrawn (test_permission).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.model import Actor, Outcome
from bot.sandbox import Fault
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.agents.scenario import allow_options
from tests.clock import let_pass
from tests.e2e.play import Play, play
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

OPTIONS = allow_options(("yes", "allow_once"), ("no", "reject_once"))
CANCELLED = {"outcome": {"outcome": "cancelled"}}


def asking(directory: Path, options: list[Step] = OPTIONS, **keys: Any) -> ScriptedAgent:
    """An agent that asks, and says what it was answered."""
    then = {name: [{"text": name}] for name in ("yes", "no", "cancelled")}
    ask: Step = {"permission": {"tool": {"title": "make"}, "options": options}, "then": then}
    return scenario(directory, words=words(directory, ask=[{"text": "Well. "}, ask]), **keys)


def request(number: str, session: str = "$SESSION", **changes: Any) -> Step:
    """A request as a raw line, with an id of its own."""
    params = {"sessionId": session, "toolCall": {"toolCallId": "t", "title": "make"}, "options": OPTIONS, **changes}
    return {
        "raw": json.dumps({"jsonrpc": "2.0", "id": number, "method": "session/request_permission", "params": params})
    }


async def answers(agent: ScriptedAgent, count: int = 1) -> list[Any]:
    return [entry["result"] or entry["error"]["code"] for entry in await agent.seen("answer", count)]


def cards(game: Play, thread_id: int) -> list[str]:
    return [reply.content for reply in game.replies(thread_id) if "🔐" in reply.content]


async def test_a_request_that_nobody_answers_is_rejected_and_its_card_says_so(tmp_path: Path) -> None:
    """D6: with the agent's own option, not ``cancelled``."""
    agent = asking(tmp_path)
    async with witnessed(tmp_path, agent, permission_timeout=0.2) as game:
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent) == [{"outcome": {"outcome": "selected", "optionId": "no"}}]
        (card,) = cards(game, thread_id)
        assert card.endswith("\n⌛ No answer in time, so `no` was chosen.")
        assert game.replies(thread_id)[-1].content.startswith("no\n-# ")


@pytest.mark.parametrize("kind", ["zzz", *in_soak(["allow_always", ""])])
async def test_a_request_that_can_not_be_rejected_is_cancelled_when_its_time_is_up(tmp_path: Path, kind: str) -> None:
    """D6: an option of an unknown kind says neither yes nor no."""
    agent = asking(tmp_path, allow_options(("yes", kind)))
    async with witnessed(tmp_path, agent, permission_timeout=0.2) as game:
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent) == [CANCELLED]
        (card,) = cards(game, thread_id)
        assert card.endswith("\n⌛ No answer in time, so the request was cancelled.")


async def test_a_request_without_options_is_cancelled_without_a_card(tmp_path: Path) -> None:
    """D6: at once, long before the time is up."""
    agent = asking(tmp_path, [])
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent) == [CANCELLED]
        assert cards(game, thread_id) == []


async def test_a_malformed_request_is_refused_and_the_turn_goes_on(tmp_path: Path) -> None:
    """T5, T9: with an error of its own, so that the agent does not wait."""
    odd: list[Step] = [request("one", sessionId=None), request("two", toolCall=5), request("three", options="all")]
    agent = scenario(tmp_path, words=words(tmp_path, odd=[*odd, {"text": "done"}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("odd")
        assert outcome is Outcome.ANSWERED
        assert all(answer in (-32602, CANCELLED) for answer in await answers(agent, 3))
        assert game.shown(thread_id).startswith("done\n-# ")


async def test_a_request_whose_card_discord_refuses_is_cancelled_and_said_so(tmp_path: Path) -> None:
    """D6: at once, long before the time is up."""
    ask: Step = {"permission": {"tool": {"title": "make"}, "options": OPTIONS}, "then": {"*": [{"text": "well"}]}}
    agent = scenario(tmp_path, words={"ask": [ask]})
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.faults.next("POST", r"/messages$", Fault.status(400, 200_000))
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent) == [CANCELLED]
        assert "Discord refused to show the request" in game.shown(thread_id)


async def test_a_request_after_the_cancel_is_cancelled_without_a_card(tmp_path: Path) -> None:
    """D6, T6: the agent waits for the answer before it ends the turn."""
    gate = Gate(tmp_path / "gate")
    ask: Step = {"permission": {"options": OPTIONS}, "then": {"*": []}}
    steps: list[Step] = [{"ignore_cancel": True}, {"text": "word"}, gate.step, ask]
    agent = scenario(tmp_path, words=words(tmp_path, slow=steps))
    async with witnessed(tmp_path, agent, cancel_grace=10) as game:
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "word")
        await game.stop(thread_id)
        await agent.heard("session/cancel")
        gate.open()
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await answers(agent) == [CANCELLED]
        assert cards(game, thread_id) == []
        assert game.shown(thread_id).startswith("word\n-# ▸ `run` unfinished\n⏹ **Stopped** by `owner`.\n-# ")
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED


async def test_a_request_after_the_end_of_the_turn_is_cancelled_without_a_card(tmp_path: Path) -> None:
    """D6: also while the turn is drained."""
    late: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, request("late")]
    agent = scenario(tmp_path, words=words(tmp_path, go=late))
    async with witnessed(tmp_path, agent, drain=0.3) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent) == [CANCELLED]
        assert cards(game, thread_id) == []
        assert game.shown(thread_id).startswith("done\n-# ")


async def test_a_request_that_comes_twice_under_one_id_is_one_card_and_one_answer(tmp_path: Path) -> None:
    """D6, T5: the turn goes on."""
    gate = Gate(tmp_path / "gate")
    twice: Step = {"raw": f"{request('same')['raw']}\n" * 2, "end": ""}
    steps: list[Step] = [twice, gate.step, {"text": "done"}]
    agent = scenario(tmp_path, words=words(tmp_path, twice=steps))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("twice")
        await game.press(thread_id, "no")
        await agent.seen("answer")
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert await answers(agent) == [{"outcome": {"outcome": "selected", "optionId": "no"}}]
        (card,) = cards(game, thread_id)
        assert card.endswith("\n⛔ `no` by `owner`")
        assert game.replies(thread_id)[-1].content.startswith("done\n-# ")
        assert await game.outcome(await game.say(thread_id, "next")) is Outcome.ANSWERED


async def test_a_request_of_an_unknown_session_is_cancelled(tmp_path: Path) -> None:
    """D6, T5: as often as it comes."""
    steps: list[Step] = [request("same", "?"), request("same", "?"), {"text": "done"}]
    agent = scenario(tmp_path, words=words(tmp_path, ask=steps))
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("ask")
        assert outcome is Outcome.ANSWERED
        assert await answers(agent, 2) == [CANCELLED] * 2
        assert cards(game, thread_id) == []


async def test_a_click_after_the_time_is_up_is_told_that_it_is_too_late(tmp_path: Path) -> None:
    """D6: an old client may still show the buttons."""
    agent = asking(tmp_path)
    async with witnessed(tmp_path, agent, permission_timeout=10) as game:
        thread_id = await game.mention("ask")
        _, buttons = await game.card(thread_id)
        let_pass(10)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        owner = Actor(id=game.owner.id, name="owner")
        answer = game.on_stage.bot.dispatcher.decide(buttons[0].request, 0, owner)
        assert (answer.text, answer.accepted) == ("This request has expired.", False)
        assert await answers(agent) == [{"outcome": {"outcome": "selected", "optionId": "no"}}]
