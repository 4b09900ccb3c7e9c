"""Logging in to an agent from Discord, and out."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import Interaction, Person
from bot.work.ending import USE_LOGIN
from bot.work.login.logins import NOT_YOURS
from tests.agents import scenario
from tests.agents.offers import auth, method, terminal_method
from tests.e2e.play import Play, play

pytestmark = pytest.mark.asyncio


async def answer(used: Interaction) -> tuple[str, list[str]]:
    """Wait for a deferred answer; return its text and the custom_ids of its buttons."""
    filled = await used.filled()
    rows = filled.get("components") or []
    return filled["content"], [button["custom_id"] for row in rows for button in row["components"]]


async def press(game: Play, by: Person, used: Interaction, custom_id: str) -> str:
    assert used.original_id is not None
    return (await answer(await by.click(used.original_id, custom_id)))[0]


async def test_an_agent_that_wants_a_login_gets_one_by_a_button_and_the_next_message_is_answered(
    tmp_path: Path,
) -> None:
    """K4, O1: without a process, one is started for it; who is no approver sees what there is and changes nothing."""
    ways = auth(method("api-key", "reads KEY"), method("browser"), logout=True, file=str(tmp_path / "account"))
    agent = scenario(tmp_path, auth=ways)
    judges: list[int] = []

    def invite(discord: object) -> dict[str, object]:
        judges.append(discord.add_role("judges"))  # type: ignore[attr-defined]
        bob = discord.user("bob")  # type: ignore[attr-defined]
        discord.user("judge", roles=judges)  # type: ignore[attr-defined]
        return {"allowed_users": (bob.id,), "approver_roles": tuple(judges)}

    async with play(tmp_path, agent, invite=invite) as game:
        bob, judge = game.discord.user("bob"), game.discord.user("judge", roles=judges)
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.COULD_NOT_START
        await game.until_shown(thread_id, USE_LOGIN)
        # 1. Everybody who is let in sees the ways; buttons are for approvers and owners.
        text, buttons = await answer(await bob.slash(thread_id, "login"))
        assert text.splitlines()[:3] == ["**Log in to the agent**", "1. `Api key`: `reads KEY`", "2. `Browser`"]
        assert buttons == []
        text, buttons = await answer(used := await judge.slash(game.discord.channel_id, "login"))
        assert len(buttons) == 2
        # 2. The press does it, where it stands; forged for somewhere else, or pressed by others, it does nothing.
        assert "is logged in with `Api key`" in await press(game, judge, used, buttons[0])
        assert (tmp_path / "account").exists()
        again = await game.say(thread_id, "hello again")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert len(agent.received("authenticate")) == 1
        # 3. Out, after a question, by the process that lives; the thread's own agent says what is missing now.
        assert (await answer(await bob.slash(thread_id, "logout")))[0] == NOT_YOURS.text
        starts = len(agent.pids())
        _, [out] = await answer(used := await game.owner.slash(thread_id, "logout"))
        assert (tmp_path / "account").exists()
        assert "is logged out" in await press(game, game.owner, used, out)
        assert not (tmp_path / "account").exists()
        assert len(agent.pids()) == starts


async def test_a_login_that_fails_says_why(tmp_path: Path) -> None:
    """K4: ways that take a terminal are not announced, so agents keep them to themselves."""
    refusal = {"code": -32603, "message": "no browser", "data": {"details": "set DISPLAY"}}
    agent = scenario(tmp_path, auth=auth(method("web"), terminal_method("cli", "auth login"), answer=refusal))
    async with play(tmp_path, agent) as game:
        text, [button] = await answer(used := await game.owner.slash(game.discord.channel_id, "login"))
        assert "Cli" not in text
        assert await press(game, game.owner, used, button) == "The agent is not logged in: `no browser: set DISPLAY`"
        assert "auth" not in agent.received("initialize")[0]["params"]["clientCapabilities"]
        unoffered = await answer(await game.owner.slash(game.discord.channel_id, "logout"))
        assert "can't be logged out from here" in unoffered[0]
