"""The page on a phone, by keys alone, in light and dark, and for people who use assistive technology."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from bot.model import Outcome
from bot.sandbox import ChannelType, FakeDiscord
from tests.agents import ScriptedAgent, Step, scenario
from tests.browser import axe
from tests.browser.client import PHONE, Client, visiting
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMAND = "find . -name '*.orig' -print0 | xargs -0 --no-run-if-empty rm --force --verbose && " + "x" * 300
FIELDS = {"name": {"type": "string", "title": "Name"}, "size": {"type": "string", "title": "Size", "enum": ["s", "l"]}}
FORM: Step = {"elicit": {"message": "Which one?", "requestedSchema": {"type": "object", "properties": FIELDS}}}
TABLE = "| a | b |\n| - | - |\n" + "".join(f"| {number} | {'word ' * 20}|\n" for number in range(3))
FINGER = 40.0
"""Pixels that a button for a finger is high, at least."""


def asking(directory: Path, *more: Step) -> ScriptedAgent:
    tool = {"toolCallId": "t1", "title": COMMAND, "kind": "execute", "rawInput": {"command": COMMAND}}
    options = [
        {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
        {"optionId": "no", "name": "Reject", "kind": "reject_once"},
    ]
    ask = {"permission": {"tool": tool, "options": options}, "then": {"*": [{"text": "Gone."}]}}
    code = f"```python\nprint({'1234567890' * 20!r})\n```\n\n{TABLE}"
    return scenario(directory, [{"text": f"I look.\n\n{code}\n"}, ask, *more])


def with_forum(discord: FakeDiscord) -> dict[str, Any]:
    return {"forums": (discord.add_channel("tasks", ChannelType.FORUM, tags=("bug", "done")),)}


async def fits(person: Client) -> None:
    """Fail if the page can be pushed sideways."""
    wide = await person.page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0


async def test_everything_is_reached_on_a_phone(tmp_path: Path, chromium: Browser) -> None:
    """390 pixels: nothing to push sideways, the channels in a drawer, a long card to its last button, a form."""
    agent = asking(tmp_path, FORM)
    async with (
        play(tmp_path, agent) as game,
        visiting(chromium, game.discord, size=PHONE, touch=True) as owner,
    ):
        await fits(owner)
        await owner.mention("clean up")
        # 1. The drawer, and away again by itself.
        await expect(owner.channels).not_to_be_in_viewport()
        await owner.page.get_by_role("button", name="Open channels").tap()
        await expect(owner.channels).to_be_in_viewport()
        await fits(owner)
        await owner.channels.get_by_role("link", name="clean up").tap()
        await expect(owner.place).to_have_text("clean up")
        await expect(owner.channels).not_to_be_in_viewport()
        # 2. The card: all of the command, and buttons for a finger.
        card = owner.message("asks for permission")
        await expect(card).to_contain_text("x" * 300)
        await fits(owner)
        for name in ("Allow once", "Reject"):
            button = card.get_by_role("button", name=name)
            await button.scroll_into_view_if_needed()
            await expect(button).to_be_in_viewport(ratio=1)
            box = await button.bounding_box()
            assert box is not None
            assert box["height"] >= FINGER
        await card.get_by_role("button", name="Allow once").tap()
        # 3. A form over the whole of it.
        await owner.message("Which one?").get_by_role("button", name="Answer…").tap()
        form = owner.dialog("Answer the agent")
        await form.get_by_role("textbox", name="Name").fill("mine")
        await fits(owner)
        await form.get_by_role("button", name="Submit").tap()
        await expect(owner.message("Which one?")).to_contain_text("Answered by owner")
        # 4. What a message can do is behind one button there.
        answer = owner.message("Gone.")
        await (
            answer.get_by_role("button", name="More").or_(answer.get_by_role("button", name="More actions")).first.tap()
        )
        await expect(
            owner.page.get_by_role("button", name="Reply").or_(owner.page.get_by_role("menuitem", name="Reply")).first
        ).to_be_in_viewport()
        await fits(owner)
        (thread,) = game.discord.threads()
        assert await game.outcome(thread.id) is Outcome.ANSWERED


async def tab_to(person: Client, wanted: Locator, keys: str = "Tab") -> None:
    """Press a key until something has the focus, and fail if it never gets it."""
    for _ in range(60):
        if await wanted.evaluate("one => one === document.activeElement"):
            return
        await person.page.keyboard.press(keys)
    await expect(wanted).to_be_focused()


@pytest.mark.soak
async def test_all_is_done_by_keys_alone(tmp_path: Path, chromium: Browser) -> None:
    """Writing, going to the thread, answering the card, a form that is given up and one that is sent."""
    async with play(tmp_path, asking(tmp_path, FORM)) as game, visiting(chromium, game.discord) as owner:
        keyboard = owner.page.keyboard
        # 1. One types at once.
        await expect(owner.composer).to_be_focused()
        await keyboard.type(f"<@{game.discord.bot_user.id}> clean up")
        await keyboard.press("Enter")
        link = owner.channels.get_by_role("link", name="clean up")
        await expect(link).to_be_visible()
        await tab_to(owner, link, "Shift+Tab")
        await keyboard.press("Enter")
        await expect(owner.place).to_have_text("clean up")
        # 2. The card, from the composer backwards.
        allow = owner.message("asks for permission").get_by_role("button", name="Allow once")
        await expect(allow).to_be_visible()
        await owner.composer.focus()
        await tab_to(owner, allow, "Shift+Tab")
        await keyboard.press("Enter")
        # 3. A form takes the focus, keeps it, and gives it back.
        answer = owner.message("Which one?").get_by_role("button", name="Answer…")
        await expect(answer).to_be_visible()
        await owner.composer.focus()
        await tab_to(owner, answer, "Shift+Tab")
        await keyboard.press("Enter")
        form = owner.dialog("Answer the agent")
        await expect(form).to_be_visible()
        for _ in range(8):
            await keyboard.press("Tab")
            # The body stands for the browser's own buttons, which come after the last field.
            inside = "form => document.activeElement === document.body || form.contains(document.activeElement)"
            assert await form.evaluate(inside)
        await keyboard.press("Escape")
        await expect(form).to_have_count(0)
        await expect(answer).to_be_focused()
        await keyboard.press("Enter")
        await tab_to(owner, form.get_by_role("textbox", name="Name"))
        await keyboard.type("mine")
        await tab_to(owner, form.get_by_role("button", name="Submit"))
        await keyboard.press("Enter")
        (thread,) = game.discord.threads()
        assert await game.outcome(thread.id) is Outcome.ANSWERED
        # 4. A menu is left by Tab, and a dialog that it opened gives the focus back to its button.
        options, menu = (owner.page.get_by_role(role, name="Thread options") for role in ("button", "menu"))
        for away in (None, "Rename", "Delete thread"):
            await options.focus()
            await keyboard.press("Enter")
            await expect(menu.get_by_role("menuitem").first).to_be_focused()
            if away is None:
                await keyboard.press("Tab")
            else:
                await tab_to(owner, menu.get_by_role("menuitem", name=away), "ArrowDown")
                await keyboard.press("Enter")
                await expect(owner.page.get_by_role("dialog")).to_be_visible()
                await keyboard.press("Escape")
                await expect(options).to_be_focused()
            await expect(menu).to_have_count(0)
        # 5. What closes itself hands the focus to what opens it.
        opens = owner.page.get_by_role("button", name="Things to try")
        await owner.page.get_by_role("button", name="Close panel").focus()
        await keyboard.press("Enter")
        await expect(opens).to_be_focused()


COLOURS = pytest.mark.parametrize("dark", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["dark", "light"])
"""axe-core tells colours that are too much alike; all else that it tells is the same in both."""


class Looks:
    """What axe-core has to say of each state of a page that it was shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._found: dict[str, list[str]] = {}

    async def take(self, state: str, *, without: tuple[str, ...] = ()) -> None:
        self._found[state] = await axe.findings(self._page, without=without)

    def bad(self) -> dict[str, list[str]]:
        return {state: lines for state, lines in self._found.items() if lines}


@COLOURS
async def test_no_state_of_the_page_shuts_anybody_out(tmp_path: Path, chromium: Browser, dark: bool) -> None:
    """axe-core has nothing serious to say: empty, a thread with a card, a form, the picker, a forum."""
    async with (
        play(tmp_path, asking(tmp_path, FORM), invite=with_forum) as game,
        visiting(chromium, game.discord, dark=dark) as owner,
    ):
        background = await owner.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) is dark
        looks = Looks(owner.page)
        await looks.take("empty")
        await owner.mention("clean up")
        await owner.open("clean up")
        card = owner.message("asks for permission")
        await expect(card).to_be_visible()
        await owner.action(owner.message("I look."), "Reply")
        await looks.take("thread")
        await owner.page.get_by_role("button", name="Cancel reply").click()
        await owner.composer.press_sequentially("/")
        await expect(owner.page.get_by_role("listbox", name="Commands")).to_be_visible()
        # The keys that move in the list are pressed in the message box, which keeps the focus.
        await looks.take("picker", without=("scrollable-region-focusable",))
        await owner.page.keyboard.press("Escape")
        await owner.composer.fill("")
        await card.get_by_role("button", name="Allow once").click()
        await owner.message("Which one?").get_by_role("button", name="Answer…").click()
        await expect(owner.dialog("Answer the agent")).to_be_visible()
        await looks.take("form")
        await owner.page.keyboard.press("Escape")
        (forum,) = game.on_stage.settings.forums
        await game.discord.start_post(game.discord.owner, forum, "A post", "x", tags=["bug"])
        await owner.open("tasks")
        await looks.take("forum")
        assert looks.bad() == {}


@COLOURS
async def test_no_state_of_a_phone_shuts_anybody_out(tmp_path: Path, chromium: Browser, dark: bool) -> None:
    """axe-core has nothing serious to say: a channel, the drawer, a long card, a form, the sheet, a dialog."""
    async with (
        play(tmp_path, asking(tmp_path, FORM)) as game,
        visiting(chromium, game.discord, size=PHONE, touch=True, dark=dark) as owner,
    ):
        looks = Looks(owner.page)
        await owner.mention("clean up")
        asked = owner.message("Which one?")
        await expect(owner.log.get_by_role("button", name=re.compile("^clean up"))).to_be_visible()
        await looks.take("channel")
        await owner.page.get_by_role("button", name="Open channels").tap()
        await looks.take("drawer")
        await owner.channels.get_by_role("link", name="clean up").tap()
        card = owner.message("asks for permission")
        await expect(card).to_be_visible()
        await looks.take("card")
        await card.get_by_role("button", name="Allow once").tap()
        await asked.get_by_role("button", name="Answer…").tap()
        await expect(owner.dialog("Answer the agent")).to_be_visible()
        await looks.take("form")
        await owner.page.keyboard.press("Escape")
        await asked.get_by_role("button", name="More").tap()
        await looks.take("sheet")
        await owner.page.get_by_role("button", name="Delete").tap()
        await expect(owner.page.get_by_role("dialog")).to_be_visible()
        await looks.take("dialog")
        assert looks.bad() == {}
