"""Who decided what: over kills and disks in trouble, and as `weft audit` prints it beside a bot that runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.chat.answers import NOT_IN_THREAD
from bot.demo.transcript import card_buttons
from bot.sandbox import FakeDiscord, Interaction, Message, Person
from bot.sandbox.audit import Problem
from bot.work.permissions.audit import NOTHING_HERE
from bot.work.permissions.rule_keeping import NO_RULES, NOT_KEPT
from tests.agents import scenario
from tests.commands import weft
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, mention, run, shown, until_shown

pytestmark = pytest.mark.asyncio

TOOL = {"toolCallId": "t1", "title": "Clean", "kind": "execute", "rawInput": {"command": "rm -r build"}}
OPTIONS = [
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
ASK = {"permission": {"tool": TOOL, "options": OPTIONS}, "then": {"*": [{"text": "went on"}]}}


async def card(discord: FakeDiscord, thread_id: int) -> Message:
    def found() -> list[Message]:
        opened = any(thread.id == thread_id for thread in discord.threads())
        return [one for one in (discord.messages(thread_id) if opened else []) if card_buttons(one)]

    await discord.wait_for(lambda _: found(), timeout=LIMIT)
    return found()[0]


def audit(directory: Path) -> list[dict[str, Any]]:
    printed = weft(directory, "audit", "--json")
    assert printed.returncode == 0, printed.stderr
    return [json.loads(line) for line in printed.stdout.splitlines()]


@pytest.mark.soak
async def test_a_kill_takes_no_decision_that_anybody_was_shown(tmp_path: Path) -> None:
    """C5, R6: the agent waits for no disk, and people see nothing before it is written."""
    agent = scenario(tmp_path, [ASK])
    async with connected(tmp_path, agent, allow=[Problem.UNANSWERED]) as (discord, bot):
        thread_id = await mention(discord, "first")
        asked = await card(discord, thread_id)
        with closing(sqlite3.connect(tmp_path / "state" / "weft" / "weft.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            pressed = discord.owner.begin_click(asked, card_buttons(asked)[0].custom_id)
            with anyio.fail_after(LIMIT):
                await until_shown(discord, thread_id, "went on")
            # The lock is waited for longer than that: nothing is written, and nothing said.
            assert (card_buttons(discord.message(asked.id)) != [], pressed.acked) == (True, False)
            bot.process.kill()
            await bot.process.wait()
        assert audit(tmp_path) == []
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            thread_id = await mention(discord, "second")
            asked = await card(discord, thread_id)
            pressed = await discord.owner.click(asked, card_buttons(asked)[1].custom_id)
            await until_shown(discord, thread_id, "`Reject` by `owner`")
            again.process.kill()
            await again.process.wait()
        (row,) = audit(tmp_path)
        assert (row["outcome"], row["person_id"], row["what"]) == ("rejected", str(discord.owner.id), "rm -r build")
        assert (row["thread_id"], row["prompt_id"], row["option"]) == (str(thread_id), str(thread_id), "Reject")
        (line,) = (event for event in again.events() if event["event"] == "permission.decided")
        assert (line["outcome"], line["person"], line["kind"]) == ("rejected", discord.owner.id, "execute")
        assert "rm -r build" not in again.said
        assert "Reject" in shown(discord, thread_id)


async def test_the_last_decisions_are_shown_to_whoever_may_decide(tmp_path: Path) -> None:
    """C5, C1: of the thread; of the server to approvers and owners alone."""
    agent = scenario(tmp_path, [ASK], [ASK])

    def text(answer: Interaction) -> str:
        return answer.followups[0].content if answer.followups else str((answer.response or {}).get("content"))

    async with play(tmp_path, agent) as game:
        owner, stranger, here = game.owner, game.discord.user("mallory"), game.discord.channel_id
        first = await game.mention("first")
        await game.card(first)
        assert text(await settled(owner, first)) == NOTHING_HERE
        await game.press(first, "Allow once")
        await game.outcome(first)
        second = await game.mention("second")
        await game.press(second, "Reject")
        await game.outcome(second)
        shown = text(await settled(owner, first)).split("\n")
        assert [line.split(" ")[0] for line in shown] == ["✅", "-#"]
        assert shown[0].endswith(" `rm -r build`: allowed by `owner`")
        everywhere = text(await settled(owner, here, server=True)).split("\n")
        assert [line.split(" ")[0] for line in everywhere] == ["⛔", "✅", "-#"]
        assert f" in <#{second}> " in everywhere[0]
        assert text(await settled(owner, here)) == NOT_IN_THREAD
        assert text(await settled(stranger, first)).startswith("You are not on the list")
        assert text(await owner.slash(first, "permissions list")).startswith(NO_RULES)
        assert text(await owner.slash(first, "permissions revoke", rule="npm test")) == NOT_KEPT.text


async def settled(person: Person, channel_id: int, **options: Any) -> Interaction:
    """Ask for the audit and wait for what follows."""
    asked = await person.slash(channel_id, "audit", **options)
    await asked.told()
    return asked
