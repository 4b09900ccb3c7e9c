"""Permission requests from the card to the agent: allowed, rejected, expired, cancelled, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Actor, Outcome
from bot.sandbox import Message
from tests.agents import ScriptedAgent, scenario
from tests.e2e.play import Play, play
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("drain", [0.05, *in_soak([0.0])])]

TOOL = {"toolCallId": "t1", "title": "rm -r build", "kind": "execute", "rawInput": {"command": "rm -r build"}}
OPTIONS = [
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]


def asking(directory: Path, **keys: Any) -> ScriptedAgent:
    then = {"yes": [{"text": "removed"}], "no": [{"text": "kept"}], "cancelled": [{"text": "never mind"}]}
    ask = {"permission": {"tool": TOOL, "options": OPTIONS}, "then": then}
    return scenario(directory, [{"text": "I'll clean up. "}, ask], [{"echo": True}], **keys)


def answers(agent: ScriptedAgent) -> list[dict[str, Any]]:
    heard = (entry["message"] for entry in agent.events("received"))
    return [message["result"]["outcome"] for message in heard if "outcome" in message.get("result", {})]


def below(game: Play, thread_id: int, text: str) -> Message:
    return next(reply for reply in game.replies(thread_id) if text in reply.content)


async def test_the_requester_allows_and_the_text_goes_on_below_the_card(tmp_path: Path, drain: float) -> None:
    """D6."""
    agent = asking(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id = await game.mention("clean")
        card_id, buttons = await game.card(thread_id)
        assert [button.label for button in buttons] == ["Allow once", "Reject"]
        assert "rm -r build" in game.discord.message(card_id).content
        pressed = await game.press(thread_id, "Allow once")
        assert pressed.ephemeral
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "selected", "optionId": "yes"}]
        assert below(game, thread_id, "I'll clean up.").id < card_id < below(game, thread_id, "removed").id
        card = game.discord.message(card_id)
        assert "`Allow once` by `owner`" in card.content
        assert card.components == []


async def test_a_rejection_reaches_the_agent_as_its_own_option(tmp_path: Path, drain: float) -> None:
    """D5, D6: and the tool is not told as one that ran."""
    agent = asking(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id = await game.mention("clean")
        await game.press(thread_id, "Reject")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "selected", "optionId": "no"}]
        assert "kept\n-# ⛔ `rm -r build` not allowed\n-# " in game.shown(thread_id)
        assert "1 tool" not in game.shown(thread_id)


async def test_silence_rejects_and_says_so(tmp_path: Path, drain: float) -> None:
    """D6: nothing is approved by default."""
    agent = asking(tmp_path)
    async with play(tmp_path, agent, drain=drain, permission_timeout=0.1) as game:
        thread_id, outcome = await game.ask("clean")
        assert outcome is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "selected", "optionId": "no"}]
        assert "No answer in time" in game.shown(thread_id)


async def test_somebody_else_is_told_that_they_may_not_answer(tmp_path: Path, drain: float) -> None:
    """D6: a shell command is never approved by the wrong person."""
    agent = asking(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        stranger = game.discord.user("mallory")
        thread_id = await game.mention("clean")
        refused = await game.press(thread_id, "Allow once", stranger)
        assert refused.ephemeral
        assert answers(agent) == []
        await game.press(thread_id, "Reject")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "selected", "optionId": "no"}]


async def test_a_second_click_is_told_that_it_is_answered(tmp_path: Path, drain: float) -> None:
    """D6."""
    agent = asking(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id = await game.mention("clean")
        card_id, buttons = await game.card(thread_id)
        await game.owner.click(card_id, buttons[1].custom_id)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        # The button is gone from the message; an old client may still show it.
        assert (
            game.on_stage.bot.dispatcher.decide(buttons[0].request, 0, SOMEONE).text == "Already answered by `owner`."
        )
        assert answers(agent) == [{"outcome": "selected", "optionId": "no"}]


async def test_a_request_after_the_end_of_the_turn_is_cancelled_without_a_card(tmp_path: Path, drain: float) -> None:
    """D6."""
    late = {"permission": {"tool": TOOL, "options": OPTIONS}, "then": {"*": []}}
    agent = scenario(tmp_path, [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, late])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        await agent.seen("answer")
        assert answers(agent) == [{"outcome": "cancelled"}]
        assert "permission" not in game.shown(thread_id)


async def test_a_request_that_the_agent_takes_back_closes_its_card(tmp_path: Path, drain: float) -> None:
    """T6, D6: claude and codex withdraw their request when the turn is cancelled."""
    agent = asking(tmp_path, behaviour="claude")
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id = await game.mention("clean")
        card_id, _ = await game.card(thread_id)
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert game.discord.message(card_id).components == []


SOMEONE = Actor(id=0, name="someone")
