"""Budgets from the settings to the thread, over kills of the bot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.agents.model import Agents, only
from bot.chat.authorize import Reason
from bot.model import Outcome
from bot.sandbox import FakeDiscord
from bot.work.budget.limits import Budget, Limit, Scope
from bot.work.controls import NOT_YOURS_TO_ALLOW
from tests.agents import Gate, scenario
from tests.e2e.play import play
from tests.e2e.process import connected, mention, rows, run, shown, until_answered, until_shown

pytestmark = pytest.mark.asyncio


def took(amount: float, text: str) -> list[dict[str, Any]]:
    """What an agent says whose session has taken so much by then."""
    cost = {"amount": amount, "currency": "USD"}
    return [{"update": {"sessionUpdate": "usage_update", "used": 10, "size": 99, "cost": cost}}, {"text": text}]


async def test_spending_is_counted_over_kills_and_what_goes_beyond_runs_once_it_is_allowed(tmp_path: Path) -> None:
    """A4, R2, O1: by what the session took since the last turn that was counted, and once allowed, once run."""
    words = {"first": took(1, "one"), "second": took(1.6, "two"), "third": took(1.7, "three")}
    agent = scenario(tmp_path, words=words, resume=True)
    file, settings = tmp_path / "weft.toml", {"WEFT_AGENT_COMMAND": ""}
    command = json.dumps(list(agent.argv))
    budget = '[budget]\nper_thread = 1.5\nper_day_tokens = 10000\ntime_zone = "Asia/Tokyo"\n'
    file.write_text(f"{budget}[agents.red]\ncommand = {command}\n")
    settings["WEFT_AGENTS_FILE"] = str(file)
    async with connected(tmp_path, agent, **settings) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_answered(discord, thread_id, "one")
        bot.process.kill()
        await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent, **settings) as again:
            await again.logged("gateway.ready")
            await discord.owner.say(thread_id, "second")
            await until_shown(discord, thread_id, "106% of the budget of this thread is used: $1.60 of $1.50.")
            await discord.owner.say(thread_id, "third")
            await until_shown(discord, thread_id, "the budget of this thread is used up ($1.60 of $1.50)")
            assert "three" not in shown(discord, thread_id)
            again.process.kill()
            await again.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent, **settings) as again:
            await again.logged("gateway.ready")
            notice = next(message for message in discord.messages(thread_id) if message.components)
            (button,) = notice.components[0]["components"]
            assert button["label"] == "Allow this turn"
            pressed = await discord.owner.click(notice, button["custom_id"])
            assert await pressed.told() == "Allowed: it runs next."
            await until_answered(discord, thread_id, "three")
            status = await discord.owner.slash(thread_id, "status")
            assert "Spent: $1.70 of $1.50 in this thread" in await status.told()
            assert not discord.message(notice.id).components
        kept = rows(tmp_path, "select person_id, thread_id, agent, money, total from spending order by number")
        owner = discord.owner.id
        assert kept == [
            (owner, thread_id, "red", 1_000_000, 1_000_000),
            (owner, thread_id, "red", 600_000, 1_600_000),
            (owner, thread_id, "red", 100_000, 1_700_000),
        ]


@pytest.mark.usefixtures("quick_discord")
async def test_only_approvers_and_owners_may_allow_a_turn_where_it_was_refused(tmp_path: Path) -> None:
    """A4, C1, D2: the requester may not, and a mention that is refused has a thread, a button in it and no agent."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        judges = discord.add_role("judges")
        discord.user("judge", roles=[judges])
        return {"approver_roles": (judges,), "allowed_users": (discord.user("alice").id,)}

    def agents(_: FakeDiscord, workspace: str) -> Agents:
        return replace(only(agent.argv, workspace), budget=Budget({Scope.DAY: Limit(money=1_000_000)}))

    agent = scenario(tmp_path, words={"first": took(1, "one"), "again": took(0.5, "two")})
    async with play(tmp_path, agent, invite=invite, agents=agents) as game:
        alice, judge, stranger = (game.discord.user(name) for name in ("alice", "judge", "stranger"))
        await game.ask("first")
        thread_id = await game.mention("again", alice)
        assert await game.outcome(thread_id) is Outcome.OVER_BUDGET
        while game.on_stage.bot.pool.status(thread_id) is not None:  # noqa: ASYNC110  Discord sees nothing of it
            await anyio.sleep(0.01)
        (notice,) = (message for message in game.replies(thread_id) if message.components)
        custom_id = notice.components[0]["components"][0]["custom_id"]
        told = [await (await person.click(notice, custom_id)).told() for person in (stranger, alice)]
        assert told == [Reason.PERSON, NOT_YOURS_TO_ALLOW.text]
        assert await (await judge.click(notice, custom_id)).told() == "Allowed: it runs next."
        assert await game.outcome(notice.id) is Outcome.ANSWERED
        await game.until_shown(thread_id, "two")


async def test_a_copy_counts_what_came_since_it_was_made_whichever_of_both_turns_ends_first(tmp_path: Path) -> None:
    """A4, Q9: the original has gone on meanwhile."""
    main, beside = Gate(tmp_path / "main"), Gate(tmp_path / "beside")
    words = {
        "before": took(20, "one"),
        "main": [{"text": "at work"}, main.step, *took(21, "two")],
        "beside": [{"text": "too"}, beside.step, *took(20.5, "three")],
    }
    async with play(tmp_path, scenario(tmp_path, words=words, fork=True), max_concurrent=2) as game:
        thread_id, _ = await game.ask("before")
        asked = await game.say(thread_id, "main")
        await game.until_shown(thread_id, "at work")
        copied = await game.say(thread_id, "beside")
        await game.until_shown(thread_id, "too")
        main.open()
        await game.outcome(asked)
        beside.open()
        await game.outcome(copied)
        assert game.on_stage.bot.dispatcher.budgets.spent_today().money == 21_500_000
