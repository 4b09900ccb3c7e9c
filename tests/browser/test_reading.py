"""What a person keeps: what they have read, where they are in it, and what they have begun to write."""

from __future__ import annotations

import re

import anyio
import pytest
from playwright.async_api import Browser, Route, expect

from bot.sandbox import ChannelType, FakeDiscord
from tests.browser.client import visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What scrolls around a button.
BOX = """
    const scrolls = (one) => /auto|scroll/.test(getComputedStyle(one).overflowY);
    let box = button;
    while (!scrolls(box)) box = box.parentElement;"""

# Scroll until so many pixels are left below, and return how far a button moves in the frames after that.
MOVES_AT_END = (
    "async (button, left) => {"
    + BOX
    + """
    box.scrollTop = box.scrollHeight - box.clientHeight - left;
    const before = button.getBoundingClientRect().top;
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    return button.getBoundingClientRect().top - before;
}"""
)

# Let something grow above, and a scroll event come before the page has settled; return how far a button moves.
MOVES_AS_IT_GROWS = (
    "async (button) => {"
    + BOX
    + """
    const before = button.getBoundingClientRect().top;
    box.firstElementChild.style.paddingTop = "100px";
    box.dispatchEvent(new Event("scroll"));
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    return button.getBoundingClientRect().top - before;
}"""
)

# Scroll up and press before that is told; return how far the button moves then, and what is under the pointer.
MOVES_AS_IT_IS_TOLD = (
    "async (button) => {"
    + BOX
    + """
    const gap = box.getBoundingClientRect().bottom - button.getBoundingClientRect().bottom;
    box.scrollTop += 4 - gap;
    const { left, top } = button.getBoundingClientRect();
    const press = (type) => button.dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0 }));
    press("pointerdown");
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    const under = document.elementFromPoint(left + 8, top + 8);
    const moved = button.getBoundingClientRect().top - top;
    press("pointerup");
    return { moved, covered: !button.contains(under) };
}"""
)


async def test_a_channel_in_which_many_threads_began_stays_open(chromium: Browser) -> None:
    """Each card shows the latest of its thread, as far as everybody sees it, and ends its author's group."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        threads = []
        for number in range(12):
            began = await discord.owner.say(discord.channel_id, f"line {number}")
            threads.append(await discord.start_thread(discord.owner, began, f"thread {number}"))
        await owner.open("thread 11")
        await owner.send("the latest")
        await owner.open("general")
        await owner.send("still here")
        await expect(owner.content("still here")).to_be_visible()
        cards = owner.log.get_by_role("button", name=re.compile(r"^thread \d+ "))
        await expect(cards).to_have_count(12)
        await expect(cards.last).to_contain_text("the latest")
        await expect(owner.log.get_by_text("owner", exact=True)).to_have_count(13)


async def test_what_is_aimed_at_stays_under_the_pointer(chromium: Browser) -> None:
    """A press that begins on a button and ends beside it is no click: nothing moves at the end, or while it lasts."""
    async with FakeDiscord() as discord:
        ana = discord.user("ana")
        for number in range(20):
            last = await ana.say(discord.channel_id, f"line {number}\n" * 3)
        await ana.react(last, "👍")
        async with visiting(chromium, discord) as owner:
            button = owner.message(last).get_by_role("button", name=re.compile("^👍, "))
            back = owner.page.get_by_role("button", name="Jump to present")
            await expect(button).to_be_in_viewport()
            # 1. Coming to the end, or close to it, ends the way back, and moves nothing.
            for left in (0, 20):
                await owner.scroll(-300)
                await expect(back).to_be_visible()
                assert abs(await button.evaluate(MOVES_AT_END, left)) < 1
                await expect(back).to_have_count(0)
            # 2. The page follows what comes meanwhile once the button is let go.
            async with owner.page.expect_websocket() as connecting:
                await owner.page.reload()
            heard = await connecting.value
            await button.hover()
            await owner.page.mouse.down()
            async with heard.expect_event("framereceived", lambda frame: "third" in str(frame)):
                for text in ("first", "second", "third"):
                    await ana.say(discord.channel_id, text)
            await owner.frames(2)
            await owner.page.mouse.up()
            await expect(button).to_have_accessible_name("👍, 2 reactions")
            await expect(owner.content("third")).to_be_in_viewport()
            # 3. The same where the browser tells of scrolling before the page has settled.
            await button.hover()
            await owner.page.mouse.down()
            assert abs(await button.evaluate(MOVES_AS_IT_GROWS)) < 1
            await owner.page.mouse.up()
            await expect(button).to_have_accessible_name("👍, 1 reaction")
            # 4. Who presses right after scrolling finds the way back beside what is pressed only after that.
            await expect(back).to_have_count(0)
            assert await button.evaluate(MOVES_AS_IT_IS_TOLD) == {"moved": 0, "covered": False}
            await expect(back).to_be_visible()


async def test_nothing_comes_between_a_press_and_its_click(chromium: Browser) -> None:
    """Threads that begin above a link wait for the release; whoever moves away before it has not chosen the link."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        async with owner.page.expect_websocket() as connecting:
            await owner.page.reload()
        heard = await connecting.value
        await expect(owner.composer).to_be_visible()
        discord.add_channel("below")
        link = owner.channels.get_by_role("link", name="below")
        for number, at in enumerate(("below", "general")):
            began = await discord.owner.say(discord.channel_id, f"line {number}")
            await expect(owner.message(began)).to_be_visible()
            await link.hover()
            await owner.page.mouse.down()
            async with heard.expect_event("framereceived", lambda frame, of=number: f"thread {of}" in str(frame)):
                await discord.start_thread(discord.owner, began, f"thread {number}")
            await owner.frames(2)
            if at == "general":
                await owner.page.mouse.move(640, 300)
            await owner.page.mouse.up()
            await expect(owner.channels.get_by_role("link", name=f"thread {number}")).to_be_visible()
            await expect(owner.place).to_have_text(at)
            await owner.open("general")


async def test_an_edit_that_is_saved_late_leaves_the_next_one_open(chromium: Browser) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        first, second = [await discord.owner.say(discord.channel_id, text) for text in ("first", "second")]
        editor, gate = owner.page.get_by_role("textbox", name="Edit message"), anyio.Event()

        async def late(route: Route) -> None:
            if route.request.method == "PATCH":
                await gate.wait()
            await route.continue_()

        await owner.page.route(f"**/messages/{second.id}", late)
        await owner.action(owner.message(second), "Edit")
        async with owner.page.expect_response(lambda response: response.request.method == "PATCH"):
            await editor.fill("second, mended")
            await editor.press("Enter")
            await owner.action(owner.message(first), "Edit")
            await editor.fill("first, half do")
            gate.set()
        await expect(owner.message(second)).to_contain_text("second, mended")
        await owner.frames(2)
        await expect(editor).to_have_value("first, half do")


# Leave a place by its key, and write before the next frame; return what the field holds then, and what has the focus.
WRITTEN_AT_ONCE = """async (field, keys) => {
    for (const key of keys) {
        const { activeElement: one } = document;
        const [altKey, name] = [key.startsWith("Alt+"), key.replace("Alt+", "")];
        one.dispatchEvent(new KeyboardEvent("keydown", { key: name, altKey, bubbles: true, cancelable: true }));
        for (let turn = 0; turn < 9; turn += 1) await null;
    }
    return [document.activeElement.ariaLabel, document.activeElement.value];
}"""


async def test_the_next_key_goes_to_what_the_last_one_opened(chromium: Browser) -> None:
    """Not to what had the focus before, however long the machine takes for the next frame."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        discord.add_channel("below")
        await owner.send("said")
        await expect(owner.message("said")).not_to_have_class(re.compile("pending"))
        await expect(owner.channels.get_by_role("link", name="below")).to_be_visible()
        assert await owner.composer.evaluate(WRITTEN_AT_ONCE, ["ArrowUp"]) == ["Edit message", "said"]
        await owner.page.keyboard.press("Escape")
        await expect(owner.composer).to_be_focused()
        await owner.composer.fill("begun")
        assert await owner.composer.evaluate(WRITTEN_AT_ONCE, ["Alt+ArrowDown"]) == ["Message below", ""]
        assert await owner.composer.evaluate(WRITTEN_AT_ONCE, ["Alt+ArrowUp"]) == ["Message general", "begun"]


@pytest.mark.soak
async def test_what_is_unread_and_what_is_begun_outlives_a_reload(chromium: Browser) -> None:
    """Also: a mention is counted, and what came meanwhile stands below a line."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        other = discord.add_channel("other")
        ana = discord.user("ana")
        link = owner.channels.get_by_role("link", name="other", exact=True)
        await owner.open("other")
        await ana.say(other, "seen")
        await expect(owner.content("seen")).to_be_visible()
        await owner.composer.fill("begun")
        # 1. What comes while one is elsewhere, with a mention in it, is marked; a reload keeps the mark and the text.
        await owner.open("general")
        await expect(owner.composer).to_have_value("")
        await ana.say(other, f"news for <@{discord.owner.id}>")
        await expect(link).to_have_accessible_description("1 mention")
        await owner.page.reload()
        await expect(link).to_have_accessible_description("1 mention")
        # 2. Having read it, nothing is marked, here or after a reload.
        await owner.open("other")
        await expect(owner.composer).to_have_value("begun")
        await expect(owner.page.get_by_role("separator", name="New messages")).to_be_visible()
        await expect(link).to_have_accessible_description("")
        await owner.page.reload()
        await expect(owner.place).to_have_text("other")
        await expect(link).to_have_accessible_description("")
        # 3. Each person has marks and texts of their own.
        await owner.act_as("ana")
        await expect(owner.composer).to_have_value("")
        await owner.act_as("owner")
        await expect(owner.composer).to_have_value("begun")


@pytest.mark.soak
async def test_a_place_that_goes_away_leaves_the_reader_where_it_was(chromium: Browser) -> None:
    """A deleted thread leads to its channel; a person who is thrown out is told so."""
    async with FakeDiscord() as discord:
        ana = discord.user("ana")
        forum = discord.add_channel("tasks", ChannelType.FORUM)
        post = await discord.start_post(discord.owner, forum, "a task", "do it")
        async with visiting(chromium, discord, "ana") as person:
            await person.open("tasks")
            await person.page.get_by_role("main").get_by_role("link", name="a task").click()
            await expect(person.content("do it")).to_be_visible()
            await discord.delete_channel(post.id)
            await expect(person.place).to_have_text("tasks")
            await expect(person.page.get_by_text("That place is gone")).to_be_visible()
            discord.kick(ana)
            await expect(person.page.get_by_role("main")).to_contain_text("You are not in this server any more.")


@pytest.mark.soak
async def test_a_message_that_can_not_be_sent_is_kept_and_says_what_to_do(chromium: Browser) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        alert = owner.page.get_by_role("alert")
        # 1. Too long: it goes as a file instead.
        await owner.composer.fill("x" * 2_001)
        await owner.composer.press("Enter")
        await expect(alert.filter(has_text="2000 characters")).to_be_visible()
        await alert.get_by_role("button", name="Send as a file").click()
        await expect(owner.message("message.txt")).to_be_visible()
        assert discord.messages(discord.channel_id)[-1].attachments[0].content == b"x" * 2_001
        # 2. Lost on its way: tried again, it is there once.
        owner.allow("Failed to load resource: net::ERR_FAILED")
        await owner.page.route("**/messages", lambda route: route.abort())
        await owner.send("once")
        await expect(alert.filter(has_text="can't be reached")).to_be_visible()
        await owner.page.unroute("**/messages")
        await alert.get_by_role("button", name="Try again").click()
        await expect(owner.content("once")).to_have_count(1)
        await expect(alert.filter(has_text="can't be reached")).to_have_count(0)
        # 3. Given up, its text goes back to where it was written.
        await owner.page.route("**/messages", lambda route: route.abort())
        await owner.send("given up")
        await alert.get_by_role("button", name="Discard").click()
        await expect(owner.composer).to_have_value("given up")
        assert [one.content for one in discord.messages(discord.channel_id)].count("once") == 1


@pytest.mark.soak
async def test_what_is_on_its_way_stays_its_authors_when_somebody_else_acts(chromium: Browser) -> None:
    """The second message waits for the first, which the network holds back."""
    async with FakeDiscord() as discord:
        discord.user("ana")
        async with visiting(chromium, discord) as owner:
            released = anyio.Event()

            async def hold(route: Route) -> None:
                await released.wait()
                await route.continue_()

            await owner.page.route("**/messages", hold)
            await owner.send("first")
            await owner.send("second")
            await owner.act_as("ana")
            released.set()
            await expect(owner.content("second")).to_be_visible()
        posted = [(one.content, one.author_id) for one in discord.messages(discord.channel_id)]
        assert posted == [("first", discord.owner.id), ("second", discord.owner.id)]


async def test_the_toolbar_is_at_the_message_that_has_the_pointer_or_the_focus(chromium: Browser) -> None:
    """By keys as by the pointer; no other message has one, which would be most of what there is to draw."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        keyboard = owner.page.keyboard
        for number in range(6):
            await discord.owner.say(discord.channel_id, f"line {number}")
        await expect(owner.content("line 5")).to_be_visible()
        toolbars = owner.log.get_by_role("toolbar", name="Message actions", include_hidden=True)
        await expect(toolbars).to_have_count(0)
        for _ in range(2):  # past the button for files
            await keyboard.press("Shift+Tab")
        await expect(owner.message("line 5")).to_be_focused()
        await keyboard.press("ArrowUp")
        await expect(owner.message("line 4").get_by_role("button", name="Reply")).to_be_visible()
        await keyboard.press("Tab")
        await expect(owner.message("line 4").get_by_role("button", name="Add reaction")).to_be_focused()
        await owner.message("line 1").hover()
        await expect(owner.message("line 1").get_by_role("button", name="Reply")).to_be_visible()
        await expect(toolbars).to_have_count(2)
