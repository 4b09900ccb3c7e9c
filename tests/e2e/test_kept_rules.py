"""A rule from a card to the next request, which nobody is asked for, until it is revoked; and what the audit says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import Interaction
from tests.agents import ScriptedAgent, scenario
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio

TOOL = {"toolCallId": "t1", "title": "Test", "kind": "execute", "rawInput": {"command": "npm test"}}
OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
ASK = {"permission": {"tool": TOOL, "options": OPTIONS}, "then": {"*": [{"text": "went on"}]}}


def answers(agent: ScriptedAgent) -> list[str]:
    heard = (entry["message"] for entry in agent.events("received"))
    return [one["result"]["outcome"].get("optionId") for one in heard if "outcome" in one.get("result", {})]


def text(answer: Interaction) -> str:
    return str((answer.response or {}).get("content"))


async def test_a_rule_from_a_card_holds_for_the_next_request_until_it_is_revoked(tmp_path: Path) -> None:
    """C2, C5"""
    agent = scenario(tmp_path, [ASK], [ASK], [ASK])
    async with play(tmp_path, agent) as game:
        stranger, owner = game.discord.user("mallory"), game.owner
        first = await game.mention("first")
        card_id, buttons = await game.card(first)
        always = f"weft:always:{buttons[0].request}"
        assert text(await stranger.click(card_id, always)).startswith("You are not on the list")
        modal = await owner.click(card_id, always)
        shown: dict[str, Any] = modal.response or {}
        assert "npm test" in str(shown["components"])
        assert "Nothing was kept" in text(await owner.submit_modal(modal, rule="npm *"))
        kept = await owner.submit_modal(modal, rule="npm test")
        assert kept.ephemeral
        assert "Allowed here without asking from now on: `npm test`" in text(kept)
        assert await game.outcome(first) is Outcome.ANSWERED
        assert "`Allow once` by `owner`" in game.discord.message(card_id).content

        second, outcome = await game.ask("second")
        assert outcome is Outcome.ANSWERED
        assert "allowed by rule `npm test`" in game.shown(second)
        assert "Always here" not in game.shown(second)
        assert "`npm test`" in text(await owner.slash(first, "permissions list"))
        assert text(await stranger.slash(first, "permissions list")).startswith("You are not on the list")

        suggested = await owner.autocomplete(first, "permissions revoke", "rule", "npm")
        (choice,) = (suggested.response or {})["choices"]
        revoked = await owner.slash(first, "permissions revoke", rule=choice["value"])
        assert text(revoked) == "Taken back: `npm test`. From now on people are asked again."
        third = await game.mention("third")
        await game.press(third, "Reject")
        assert await game.outcome(third) is Outcome.ANSWERED
        assert answers(agent) == ["yes", "yes", "no"]

        here = (await (await owner.slash(first, "audit")).told()).split("\n")
        assert [line.split(" ")[0] for line in here] == ["🗑", "📌", "✅", "-#"]
        everywhere = await (await owner.slash(first, "audit", server=True)).told()
        assert [line.split(" ")[0] for line in everywhere.split("\n")] == ["⛔", "🗑", "✅", "📌", "✅", "-#"]
        assert f"<#{second}> `npm test`: allowed by the rule `npm test`" in everywhere
