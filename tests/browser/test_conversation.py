"""A conversation on the page, from the mention to the end: the answer that grows, what waits, and the stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from bot.model import Outcome
from tests.agents import Gate, scenario
from tests.browser.client import visiting
from tests.e2e.busy import BUSY, hurry_notices
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINES = "\n".join(f"line {number}  " for number in range(80))


async def test_an_answer_grows_in_its_thread_and_the_view_stays_with_its_end(tmp_path: Path, chromium: Browser) -> None:
    """O1, D9: from a mention by the list of suggestions to the last line; who reads further up is left there."""
    first, second = Gate(tmp_path / "first"), Gate(tmp_path / "second")
    tool = {"tool": {"id": "t", "title": "npm test", "kind": "execute"}}
    agent = scenario(
        tmp_path,
        [{"text": "I look. "}, first.step, tool, {"text": LINES}, second.step, {"text": "\n\nIt is **done**."}],
    )
    async with play(tmp_path, agent) as game, visiting(chromium, game.discord) as owner:
        # 1. A mention is chosen as one types.
        await owner.composer.press_sequentially("@We")
        await owner.composer.press("Tab")
        await owner.composer.press_sequentially("look around")
        await owner.composer.press("Enter")
        await owner.open("look around")
        (thread,) = game.discord.threads()
        # 2. The first words are there while the agent works.
        await expect(owner.content("I look.")).to_be_visible()
        assert thread.id not in game.on_stage.outcomes
        first.open()
        # 3. It grows past the window's height, and its end stays in view.
        await expect(owner.content("line 79")).to_be_visible()
        await expect(owner.log.get_by_role("article").last).to_be_in_viewport()
        assert await owner.distance_from_end() < 5
        # 4. Who scrolls up stays there when more comes, and finds the way back.
        await owner.scroll(-400)
        above = await owner.distance_from_end()
        assert above > 300
        second.open()
        await expect(owner.content("It is done.")).to_be_attached()
        assert await game.outcome(thread.id) is Outcome.ANSWERED
        await expect(owner.content("1 tool")).to_be_attached()
        assert await owner.distance_from_end() >= above
        await expect(owner.content("It is done.").get_by_text("done", exact=True)).to_have_css("font-weight", "700")


async def test_what_waits_is_sent_at_once_and_what_runs_is_stopped(
    tmp_path: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q5, T6: by the buttons below the messages; an answer for one person alone can be dismissed."""
    hurry_notices(monkeypatch)
    agent = scenario(tmp_path, words={"first": BUSY, "third": BUSY})
    async with play(tmp_path, agent) as game, visiting(chromium, game.discord) as owner:
        await owner.mention("first")
        await owner.open("first")
        await expect(owner.content("so far")).to_be_visible()
        for text in ("second", "third"):
            await owner.send(text)
        waiting = owner.message("Waiting")
        await expect(waiting).to_contain_text("third")
        await waiting.get_by_role("button", name="Send 2 now").click()
        told = owner.message("Only you can see this")
        await expect(told).to_contain_text("It is next.")
        (thread,) = game.discord.threads()
        assert await game.outcome(thread.id) is Outcome.SUPERSEDED
        await told.get_by_role("button", name="Dismiss message").click()
        await expect(told).to_have_count(0)
        await expect(owner.content("so far")).to_have_count(2)
        await owner.log.get_by_role("button", name="Stop").click()
        await expect(owner.content("second").last).to_be_visible()
        await expect(waiting).to_have_count(0)
        third, second = (
            message.id for message in reversed(game.discord.messages(thread.id)) if message.author_id == game.owner.id
        )
        assert [await game.outcome(one) for one in (third, second)] == [Outcome.STOPPED, Outcome.ANSWERED]
        assert agent.prompts() == ["first", "third", "second"]
