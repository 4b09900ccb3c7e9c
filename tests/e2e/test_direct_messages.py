"""Direct messages: one conversation each, for people who are listed by id, and only where a setting says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.chat.answers import FAILED, NOT_IN_THREAD
from bot.chat.authorize import Reason
from bot.chat.commands.help import DIRECT
from bot.model import Outcome
from scripts.benchmarks.commands import filled, uses
from tests.agents import Gate, scenario
from tests.agents.scenario import allow_options
from tests.e2e.busy import answers, friends, held
from tests.e2e.play import Play, play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_notices")]


def contexts(game: Play) -> dict[str, Any]:
    """Return where each command may be used, as it was registered."""
    return {one["name"]: one.get("contexts") for one in game.discord.rest_calls("PUT", "/commands")[0].body}


async def test_direct_messages_are_one_conversation_with_all_that_a_thread_has(tmp_path: Path) -> None:
    """S7, D2, T6, D6, F1, K3, Q8."""
    gate = Gate(tmp_path / "gate")
    options = allow_options(("yes", "allow_once"), ("no", "reject_once"))
    asks = [
        {"permission": {"tool": {"toolCallId": "t", "title": "rm -r build"}, "options": options}, "then": {"*": []}}
    ]
    words = {"first": held(gate), "ask": [*asks, {"text": "asked"}]}
    agent = scenario(tmp_path, words=words, commands=[{"name": "compact", "description": "makes it short"}])
    async with play(tmp_path, agent, direct_messages=True, **friends("bob")) as game:
        bob, eve = game.discord.user("bob"), game.discord.user("eve")
        mine, theirs = game.discord.open_dm(game.owner), game.discord.open_dm(bob)
        # 1. Every message is a prompt, answered as a reply; the two people are two conversations.
        first = await game.say(mine, "first")
        await game.until_shown(mine, "so far")
        assert await game.outcome(await game.say(theirs, "hello", bob)) is Outcome.ANSWERED
        assert await (await game.owner.slash(mine, "stop")).told() == "Stopping."
        assert await game.outcome(first) is Outcome.STOPPED
        assert len({one["params"]["sessionId"] for one in agent.received("session/prompt")}) == 2
        # 2. Cards, files, stop words, the agent's own commands.
        asking = await game.say(mine, "ask")
        message_id, [yes, *_] = await game.card(mine)
        assert "/permissions" not in game.discord.message(message_id).content, "there is no such command here"
        await game.owner.click(message_id, yes.custom_id)
        assert await game.outcome(asking) is Outcome.ANSWERED
        sent = await game.owner.say(mine, "read it", files=[("a.txt", b"inside")])
        assert await game.outcome(sent.id) is Outcome.ANSWERED
        assert "a.txt" in str(agent.received("session/prompt")[-1])
        await game.owner.say(mine, "stop")
        await game.discord.wait_for(lambda _: "There is nothing to stop." in game.shown(mine))
        used = await game.owner.slash(mine, "agent", command="compact")
        assert await game.outcome(game.discord.messages(mine)[-1].id) is Outcome.ANSWERED, await used.told()
        # 3. Another conversation; help for this place; nobody who is let in by nothing but a server.
        told = await (await game.owner.slash(mine, "new", prompt="once more")).told()
        assert told == "A new conversation.\n>>> once more"
        await game.discord.wait_for(lambda _: answers(game, mine)[-1][1].startswith("once more"))
        assert len(agent.received("session/new")) == 3
        assert "`/new` begins another" in await (await game.owner.slash(mine, "help")).told()
        hers = game.discord.open_dm(eve)
        await eve.say(hers, "hello")
        await game.discord.wait_for(lambda _: game.shown(hers) == Reason.UNLISTED)
        registered = contexts(game)
        assert (registered["stop"], registered["inbox"]) == ([0, 1], [0])


async def test_every_command_that_is_offered_there_works_in_direct_messages(tmp_path: Path) -> None:
    """S7: none of them takes the place for a server's."""
    async with play(tmp_path, scenario(tmp_path, commands=[{"name": "bench:hi"}]), direct_messages=True) as game:
        mine = game.discord.open_dm(game.owner)
        await game.outcome(await game.say(mine, "hello"))
        listed = [one for all_ in game.discord.state.commands.values() for one in all_ if one["name"] in DIRECT]
        for use in uses(listed):
            values = {one["name"]: filled(one, game.owner.id, mine) for one in use.given}
            told = await (await game.owner.slash(mine, use.path, **values)).told()
            assert told not in (FAILED, NOT_IN_THREAD), (use.path, told)
            for option in use.suggesting:
                await game.owner.autocomplete(mine, use.path, option, "")


async def test_without_the_setting_a_direct_message_is_not_even_heard(tmp_path: Path) -> None:
    """D2, S7."""
    async with play(tmp_path, agent := scenario(tmp_path)) as game:
        mine = game.discord.open_dm(game.owner)
        # No client offers guild commands in direct messages; should one come, the bot refuses it by itself.
        game.discord.state.command_contexts.clear()
        await game.say(mine, "hello")
        assert await (await game.owner.slash(mine, "status")).told() == Reason.DIRECT
        await game.ask("in the server")
        assert agent.prompts() == ["in the server"]
        assert game.replies(mine) == []
        assert contexts(game)["stop"] == [0]
