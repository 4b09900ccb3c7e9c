"""How people find out what they can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.sandbox import Interaction
from tests.agents import Gate, scenario
from tests.e2e.busy import friends, held
from tests.e2e.play import Play, play

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_notices")]


async def help_in(game: Play, place_id: int) -> tuple[str, dict[str, str], Interaction]:
    """Ask for help; return what it says, and its buttons: custom_ids by labels."""
    used = await game.owner.slash(place_id, "help")
    assert used.ephemeral
    rows = (await used.filled()).get("components") or []
    buttons = {button["label"]: button["custom_id"] for row in rows for button in row["components"]}
    return await used.told(), buttons, used


async def press(game: Play, used: Interaction, custom_id: str) -> str:
    assert used.original_id is not None
    return await (await game.owner.click(used.original_id, custom_id)).told()


async def test_help_goes_by_the_place_and_its_buttons_do_what_they_say(tmp_path: Path) -> None:
    """K5, D2: a stranger is refused."""
    gate = Gate(tmp_path / "gate")
    async with play(tmp_path, scenario(tmp_path, words={"first": held(gate)})) as game:
        text, buttons, used = await help_in(game, game.discord.channel_id)
        assert "Mention me" in text
        assert (await press(game, used, buttons["Inbox"])).startswith("Nothing is waiting")
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        text, buttons, used = await help_in(game, thread_id)
        assert text.startswith("**The agent is working.**")
        assert (await press(game, used, buttons["Status"])).startswith("Working for")
        # What a button answers takes the place of the help.
        _, buttons, used = await help_in(game, thread_id)
        assert await press(game, used, buttons["Stop"]) == "Stopping."
        await game.outcome(thread_id)
        text, buttons, used = await help_in(game, thread_id)
        assert text.startswith("**Just write:")
        assert "workspace`" in text.splitlines()[0]
        assert await press(game, used, buttons["Start afresh"]) == "Done. Your next message starts a new conversation."
        stranger = await game.discord.user("eve").slash(thread_id, "help")
        assert "not on the list" in await stranger.told()


async def test_each_person_is_welcomed_once_in_the_first_thread_that_they_open(tmp_path: Path) -> None:
    """K5: above the answer, and not in the threads of others."""
    async with play(tmp_path, scenario(tmp_path), **friends("bob", welcome=True)) as game:
        bob = game.discord.user("bob")
        first, _ = await game.ask("first")
        second, _ = await game.ask("second")
        assert await game.outcome(await game.say(first, "me, too", bob))
        theirs = await game.mention("third", bob)
        await game.outcome(theirs)
        welcome, *answers = [message.content for message in game.replies(first)]
        assert welcome.startswith("-# You are talking to the agent in `")
        assert not any("You are talking" in text for text in [*answers, game.shown(second)])
        assert "You are talking" in game.shown(theirs)
