"""Who one acts as, what to try, and what can be broken, as a person finds it on the page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bot.sandbox import Control, ControlError, FakeDiscord, Kind
from tests.browser.axe import findings
from tests.browser.client import PHONE, visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOUR: list[dict[str, Any]] = [
    {"title": "Ask", "text": "It answers.", "prompt": "@Weft hello", "person": "owner", "place": "general"},
    {"title": "Run", "text": "It runs.", "prompt": "@Weft run", "person": "ana", "place": "general"},
    {
        "title": "Two people",
        "text": "One alone cannot.",
        "prompt": "@Weft run",
        "person": "ana",
        "place": "other",
        "steps": ["Press it.", {"text": "Press it, too.", "person": "owner"}],
    },
]


async def lamp(on: bool | None, place: int | None) -> str:
    if on is None:
        raise ControlError("Open a thread first.")
    return f"It shines in {place}."


def staged(discord: FakeDiscord) -> None:
    """Make people and places, one of which only the owner sees."""
    discord.introduce(discord.owner, "Owner", "May do everything.")
    discord.introduce(discord.user("ana"), "Team", "May use Weft.")
    discord.tour = TOUR
    discord.add_channel("other")
    discord.add_control(Control("lamp", "Lamp", "It shines.", "Bot", lamp, Kind.SWITCH))
    discord.add_control(Control("bell", "Bell", "It rings.", "Bot", lamp))
    hidden = discord.add_channel("hidden")
    discord.overwrite(hidden, discord.guild_id, deny=["view_channel"])


@pytest.mark.soak
async def test_people_are_changed_by_keys_and_the_place_stays_where_both_see_it(chromium: Browser) -> None:
    async with FakeDiscord() as discord:
        staged(discord)
        async with visiting(chromium, discord) as me:
            keys, menu = me.page.keyboard, me.page.get_by_role("menu", name="Act as")
            await me.open("other")
            await me.page.get_by_role("button", name="Acting as owner").press("ArrowUp")
            owner = menu.get_by_role("menuitemradio", name="owner, Owner")
            await expect(owner).to_be_focused()
            await expect(owner).to_have_attribute("aria-checked", "true")
            await keys.press("Escape")
            await expect(menu).to_have_count(0)
            await expect(me.page.get_by_role("button", name="Acting as owner")).to_be_focused()
            await keys.press("Enter")
            await expect(owner).to_be_focused()
            await keys.press("a")
            await keys.press("Enter")
            await expect(me.page.get_by_role("button", name="Acting as ana")).to_be_focused()
            await expect(me.page.get_by_role("status").filter(has_text="You act as ana now.")).to_be_visible()
            await expect(me.place).to_have_text("other")
            await me.send("from ana")
            await expect(me.message("from ana")).to_be_visible()
            assert [one.author_id for one in discord.messages(int(me.page.url.rpartition("/")[2]))] == [
                discord.user("ana").id
            ]
            await me.act_as("owner")
            await me.open("hidden")
            await me.act_as("ana")
            await expect(me.place).to_have_text("general")
            await expect(me.page.get_by_text("ana does not see hidden.")).to_be_visible()


async def test_a_suggestion_acts_as_its_person_goes_to_its_place_and_is_ticked_off_when_sent(chromium: Browser) -> None:
    async with FakeDiscord() as discord:
        staged(discord)
        async with visiting(chromium, discord, size=PHONE, touch=True) as me:
            region = me.page.get_by_role("region", name="Try this")
            await region.get_by_role("button", name="Two people").click()
            await expect(me.place).to_have_text("other")
            await expect(me.composer).to_have_value("@Weft run")
            await me.composer.press("Enter")
            steps = me.page.get_by_role("region", name="Two people")
            await expect(steps.get_by_role("listitem")).to_have_text(
                [re.compile("Press it"), re.compile("Press it, too")]
            )
            await steps.get_by_role("button", name="Act as owner").click()
            await me.page.get_by_role("button", name="Things to try").click()
            await expect(region).to_contain_text("1 of 3 tried")
            done = region.get_by_role("button", name="Two people")
            await expect(done).to_have_accessible_description("One alone cannot. As ana. Tried")
            await expect(done).to_have_attribute("aria-current", "step")
            await me.page.reload()
            await me.page.get_by_role("button", name="Things to try").click()
            await expect(region).to_contain_text("1 of 3 tried")


@pytest.mark.soak
async def test_what_breaks_says_what_it_did_and_all_pages_know(chromium: Browser) -> None:
    async with FakeDiscord() as discord:
        staged(discord)
        async with visiting(chromium, discord) as me, visiting(chromium, discord, "ana") as other:
            me.allow("400")
            for page in (me.page, other.page):
                await page.get_by_text("Break something").click()
            box, theirs = (one.page.get_by_role("group", name="Break something") for one in (me, other))
            await box.get_by_role("switch", name="Lamp").click()
            await expect(box.get_by_text(f"It shines in {discord.channel_id}.")).to_be_visible()
            await expect(theirs.get_by_role("switch", name="Lamp")).to_be_checked()
            await expect(box.get_by_role("switch", name="Lamp")).to_have_accessible_description("It shines.")
            await box.get_by_role("button", name="Bell").click()
            await expect(box.get_by_role("alert")).to_have_text("Open a thread first.")
            await me.page.get_by_role("button", name="Acting as owner").click()
            assert await findings(me.page) == []
            discord.announce("The bot could not start.")
            for page in (me.page, other.page):
                await expect(page.get_by_role("status").filter(has_text="The bot could not start.")).to_be_visible()
