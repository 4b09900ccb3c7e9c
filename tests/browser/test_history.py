"""A channel with a long past: the page keeps a part of it, draws what is new and nothing else, and does not stall."""

from __future__ import annotations

import sys
from statistics import fmean

import pytest
from playwright.async_api import Browser, expect

from bot.sandbox import FakeDiscord
from tests.browser.client import Client, visiting
from tests.browser.frames import recording
from tests.repeat import long_run

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_DRAWN = 250
"""Messages that are on the page at once, at most, however many there are."""

# Comments count, too: lit marks with them where something begins and ends.
NODES = "log => log.childNodes.length"
MARK = "all => { for (const one of all) one.marked = true; return all.length; }"
MARKED = "all => all.filter(one => one.marked).length"


async def filled(discord: FakeDiscord, count: int) -> None:
    """Post so many messages, of several kinds."""
    texts = ("a line", "two\nlines", "**bold** and `code`", "```py\nprint(1)\n```", "- a\n- b", "> said\n\nand done")
    for number in range(count):
        await discord.owner.say(discord.channel_id, f"m{number} {texts[number % len(texts)]}")


async def to_the_first(person: Client) -> int:
    """Scroll up until the first message is there; return how many were on the page at most."""
    most, articles = 0, person.log.get_by_role("article")
    await person.point_at_messages()
    while not await person.content("m0 a line").count():
        await person.page.mouse.wheel(0, -3000)
        await person.frames(2)
        most = max(most, await articles.count())
    return most


async def back_to_the_last(person: Client, last: str) -> int:
    most, articles = 0, person.log.get_by_role("article")
    while not await person.content(last).count() or await person.distance_from_end() > 5:
        await person.page.mouse.wheel(0, 3000)
        await person.frames(2)
        most = max(most, await articles.count())
    return most


async def test_a_message_that_goes_leaves_nothing_in_the_list(chromium: Browser) -> None:
    """Else each message that leaves the window would make the next one slower to draw."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        await filled(discord, 2)
        await expect(owner.content("m1")).to_be_visible()
        before = await owner.log.evaluate(NODES)
        more = [await discord.owner.say(discord.channel_id, f"more {number}") for number in range(5)]
        await expect(owner.content("more 4")).to_be_visible()
        assert await owner.log.evaluate(NODES) > before
        await discord.delete_messages(discord.channel_id, [one.id for one in more])
        await expect(owner.content("more")).to_have_count(0)
        assert await owner.log.evaluate(NODES) == before


@pytest.mark.soak
async def test_a_long_past_is_walked_through_and_only_a_part_of_it_is_drawn(chromium: Browser) -> None:
    """What is new is drawn, and what stands is left as it is."""
    async with FakeDiscord() as discord:
        await filled(discord, 400)
        async with visiting(chromium, discord) as owner:
            articles = owner.log.get_by_role("article")
            await expect(owner.content("m399")).to_be_in_viewport()
            # 1. A new message, an edit and a reaction change one message each.
            drawn = await articles.evaluate_all(MARK)
            new = await discord.owner.say(discord.channel_id, "newest")
            await expect(owner.message(new)).to_be_in_viewport()
            await discord.owner.edit(new, "newest of all")
            await discord.owner.react(new, "👍")
            await expect(owner.message(new).get_by_role("button", name="👍, 1 reaction")).to_be_visible()
            assert await articles.evaluate_all(MARKED) >= drawn - 1
            # 2. To the first one and back.
            assert await to_the_first(owner) <= MOST_DRAWN
            assert await back_to_the_last(owner, "newest of all") <= MOST_DRAWN


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_ten_thousand_messages_are_scrolled_through_without_a_stall(
    chromium: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the first message and back, the page works for less than 100 ms in each frame.

    That is the processor's time of its main thread. By the clock, a frame also waits while other programs have the
    processor, which says nothing of the page. This is printed, and whether frames take more work late than early.
    """
    count = long_run(10_000, 2_000)
    async with FakeDiscord() as discord:
        await filled(discord, count)
        async with visiting(chromium, discord) as owner:
            await expect(owner.content(f"m{count - 1}")).to_be_in_viewport()
            async with recording(chromium, owner.page) as recorded:
                assert await to_the_first(owner) <= MOST_DRAWN
                assert await back_to_the_last(owner, f"m{count - 1}") <= MOST_DRAWN
    eighth = len(recorded.frames) // 8
    # In the first eighth the window is not full yet.
    early = fmean(one.worked for one in recorded.frames[eighth : 2 * eighth])
    late = fmean(one.worked for one in recorded.frames[-eighth:])
    worked = sorted((one.worked for one in recorded.frames), reverse=True)
    lasted = sorted((one.lasted for one in recorded.frames), reverse=True)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} messages, {len(worked)} frames: worked {[round(one) for one in worked[:5]]} ms, "
            f"lasted {[round(one) for one in lasted[:5]]} ms, {sum(one > 100 for one in lasted)} above 100; "
            f"on average {early:.1f} ms early, {late:.1f} late\n"
        )
    assert len(worked) > count / 10, "so many are drawn at least"
    assert worked[0] < 100
