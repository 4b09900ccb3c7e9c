"""Connections that break while a page is open: the bot's, and the page's own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.agents import scenario
from tests.browser.client import visiting
from tests.e2e.play import play
from tests.e2e.process import HANG, connected, run

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_bot_that_is_killed_tells_once_what_it_broke_off_and_goes_on(tmp_path: Path, chromium: Browser) -> None:
    """R1, R2, O1: the page stays open meanwhile; Continue brings the whole answer."""
    agent = scenario(tmp_path, HANG, [{"text": "the whole answer"}], resume=True, counter="log")
    async with connected(tmp_path, agent) as (discord, bot), visiting(chromium, discord) as owner:
        await owner.mention("work")
        await owner.open("work")
        await expect(owner.content("so far")).to_be_visible()
        await bot.signalled(signal.SIGKILL)
        async with run(tmp_path, discord.api_url, discord.token, agent):
            interrupted = owner.content("Interrupted")
            await expect(interrupted).to_be_visible()
            proceed = owner.log.get_by_role("button", name="Continue", exact=True)
            await proceed.click()
            await expect(owner.content("the whole answer")).to_be_visible()
            await expect(interrupted).to_have_count(1)
            await expect(proceed).to_have_count(0)
            await expect(owner.content("the whole answer")).to_have_count(1)


@pytest.mark.soak
async def test_a_page_that_lost_its_connection_misses_and_doubles_nothing(tmp_path: Path, chromium: Browser) -> None:
    """With its session taken up again, and with one that the server no longer knows."""
    async with play(tmp_path, scenario(tmp_path)) as game, visiting(chromium, game.discord) as owner:
        discord, channel = game.discord, game.discord.channel_id
        ana = discord.user("ana")
        first = await ana.say(channel, "first")
        doomed = await ana.say(channel, "doomed")
        await expect(owner.message(doomed)).to_be_visible()
        for resumable in (True, False):
            async with owner.reconnecting(resumable=resumable):
                meanwhile = [await ana.say(channel, f"meanwhile {number} {resumable}") for number in range(3)]
                await ana.edit(first, f"edited {resumable}")
                if not resumable:
                    await ana.delete(doomed)
            for one in meanwhile:
                await expect(owner.message(one)).to_have_count(1)
            await expect(owner.message(first)).to_contain_text(f"edited {resumable}")
        await expect(owner.message(doomed)).to_have_count(0)
        await owner.send("and on")
        await expect(owner.content("and on")).to_have_count(1)
        shown = await owner.log.get_by_role("article").evaluate_all("all => all.map(one => one.dataset.messageId)")
        assert shown == [str(one.id) for one in discord.messages(channel)]
