"""Rules from the settings to the agent: allowed and denied without a card, and what is asked all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome
from bot.sandbox import FakeDiscord
from bot.work.permissions.cards import AGREED_ALREADY
from bot.work.permissions.rules import Mode, Rule, Rules
from tests.agents import ScriptedAgent, scenario
from tests.e2e.play import play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]

OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
RULES = Rules(allow=(Rule(command="git status *"),), deny=(Rule(command="git push*"),))


def asks(number: int, command: str) -> dict[str, Any]:
    tool = {"toolCallId": f"t{number}", "title": command, "kind": "execute", "rawInput": {"command": command}}
    then = {key: [{"text": f"{key} {number}. "}] for key in ("always", "yes", "no", "cancelled")}
    return {"permission": {"tool": tool, "options": OPTIONS}, "then": then}


def with_rules(agent: ScriptedAgent, rules: Rules, mode: Mode = Mode.ASK) -> Callable[[FakeDiscord, str], Agents]:
    def make(_discord: FakeDiscord, workspace: str) -> Agents:
        return Agents({"red": AgentProfile("red", agent.argv, workspace, rules=rules, mode=mode)}, "red")

    return make


async def test_rules_answer_before_there_is_a_card_and_the_rest_is_asked(tmp_path: Path) -> None:
    """C2, C5: never by what stays with the agent, and the thread says what happened."""
    steps = [asks(1, "git status -s"), asks(2, "git status"), asks(3, "ls; git push"), asks(4, "git status; id")]
    agent = scenario(tmp_path, steps)
    async with play(tmp_path, agent, agents=with_rules(agent, RULES)) as game:
        thread_id = await game.mention("go")
        _, buttons = await game.card(thread_id)
        assert [button.label for button in buttons] == ["Always", "Allow once", "Reject"]
        # A line is shown once its decision is written, whatever comes meanwhile.
        await game.until_shown(thread_id, "-# ✓ allowed by rule `git status *`: `git status -s`")
        await game.until_shown(thread_id, "-# ⛔ denied by rule `git push*`: `ls; git push`")
        await game.press(thread_id, "Reject")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert [text for text in ("yes 1.", "yes 2.", "no 3.", "no 4.") if text not in game.shown(thread_id)] == []
        kept = await game.on_stage.bot.dispatcher._store.decisions(10, thread_id=thread_id)
        assert sorted((one.decided_by, one.outcome) for one in kept) == [
            ("person", "rejected"),
            ("rule", "allowed"),
            ("rule", "allowed"),
            ("rule", "rejected"),
        ]


async def test_a_mode_decides_what_no_rule_does(tmp_path: Path) -> None:
    """C3: without a card, and a request that can't be told is asked in any mode."""
    agent = scenario(tmp_path, [asks(1, "id"), asks(2, "git status")])
    async with play(tmp_path, agent, agents=with_rules(agent, RULES, Mode.DENY)) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        await game.until_shown(thread_id, "-# ⛔ denied by mode `deny`: `id`")
        await game.until_shown(thread_id, "-# ✓ allowed by rule `git status *`: `git status`")
        assert "🔐" not in game.shown(thread_id)


async def test_a_mode_that_allows_stops_at_what_may_be_denied(tmp_path: Path) -> None:
    """C3"""
    agent = scenario(tmp_path, [asks(1, "id"), asks(2, "curl x | sh")])
    async with play(tmp_path, agent, agents=with_rules(agent, RULES, Mode.ALLOW)) as game:
        thread_id = await game.mention("go")
        await game.press(thread_id, "Reject")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        await game.until_shown(thread_id, "-# ✓ allowed by mode `allow`: `id`")
        shown = game.shown(thread_id)
        assert "yes 1." in shown
        assert "no 2." in shown


async def test_what_takes_two_people_is_not_allowed_by_one(tmp_path: Path) -> None:
    """C1: also where a rule would allow it."""
    agent = scenario(tmp_path, [asks(1, "cd x && git push")])
    rules = Rules(allow=(Rule(command="git *"),), two_person=(Rule(command="git push*"),))
    async with play(tmp_path, agent, agents=with_rules(agent, rules)) as game:
        thread_id = await game.mention("go")
        card_id, _ = await game.card(thread_id)
        assert "Two people have to agree" in game.discord.message(card_id).content
        await game.press(thread_id, "Allow once")
        await game.until_shown(thread_id, "agreed")
        await game.press(thread_id, "Reject")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "no 1." in game.shown(thread_id)


async def test_what_rules_name_for_two_people_takes_the_requester_and_an_approver(tmp_path: Path) -> None:
    """C1, C2: with its buttons until the second has agreed; an approver's words alone start nothing."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        role = discord.add_role("approvers")
        discord.user("judge", roles=[role])
        return {"approver_roles": (role,)}

    rules = Rules(two_person=(Rule(command="git push*"),))
    agent = scenario(tmp_path, [asks(1, "git push origin")])
    async with play(tmp_path, agent, agents=with_rules(agent, rules), invite=invite) as game:
        judge = game.discord.user("judge")
        await judge.say(game.discord.channel_id, "push it", mention_bot=True)
        thread_id = await game.mention("go")
        card_id, _ = await game.card(thread_id)
        assert (
            "or an approver may answer. Two people have to agree to it; one can reject it."
            in game.discord.message(card_id).content
        )
        told = [await (await game.press(thread_id, "Allow once")).told() for _ in range(2)]
        assert told[0] == "You have agreed to `Allow once`. Somebody else has to agree, too."
        assert told[1] == AGREED_ALREADY
        await game.until_shown(thread_id, "☑️ `owner` agreed to `Allow once`. One more person has to agree.")
        await game.press(thread_id, "Allow once", judge)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        await game.until_shown(thread_id, "✅ `Allow once` by `owner` and `judge`")
        assert "yes 1." in game.shown(thread_id)
        assert agent.prompts() == ["go"]
