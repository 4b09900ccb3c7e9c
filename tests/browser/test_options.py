"""Forms of the page that no bot is needed for: options of commands by their kinds, and a bot that stays silent."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Browser, Route, expect

from bot.sandbox import interactions
from tests.bot.sandbox.raw import Raw, raw_client
from tests.browser.client import Client, visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPTIONS = [
    {"type": 3, "name": "text", "description": "Some words", "required": True, "min_length": 3},
    {"type": 3, "name": "colour", "description": "One", "required": True, "choices": [{"name": "Red", "value": "r"}]},
    {"type": 4, "name": "count", "description": "How many", "min_value": 1, "max_value": 5},
    {"type": 5, "name": "loud", "description": "Whether to shout"},
    {"type": 6, "name": "who", "description": "A person"},
    {"type": 7, "name": "where", "description": "A place"},
    {"type": 11, "name": "file", "description": "A file"},
    {"type": 11, "name": "second", "description": "Another file"},
]
INNER = [{"type": 1, "name": "set", "description": "Set it", "options": OPTIONS}]
MODE = {"type": 2, "name": "mode", "description": "A group", "options": INNER}
COMMANDS = [
    {"type": 1, "name": "queue", "description": "A command", "options": [MODE]},
    {"type": 1, "name": "plain", "description": "Without options"},
]
MODAL = {
    "title": "A form",
    "custom_id": "form",
    "components": [{"type": 18, "label": "Why", "component": {"type": 4, "custom_id": "why", "style": 2}}],
}


async def choose(ana: Client, typed: str) -> None:
    """Choose a command by what is typed; the test goes on at its first field."""
    await ana.composer.press_sequentially(typed)
    await ana.page.keyboard.press("Enter")


@pytest.mark.soak
async def test_options_are_checked_on_the_page_and_reach_discord_by_their_kinds(chromium: Browser) -> None:
    """K1: nested commands, numbers, choices, people, places, files."""
    async with raw_client() as (discord, raw), visiting(chromium, discord) as owner:
        await raw.call("PUT", f"/applications/{discord.application_id}/commands", COMMANDS)
        bob, page = discord.user("bob"), owner.page

        async def later(route: Route) -> None:
            await page.wait_for_timeout(200)
            await route.continue_()

        # 1. Typed faster than the list comes, a command is still none of the messages.
        await page.route("**/application-command-index", later)
        await choose(owner, "/queue mode")
        form = page.get_by_role("group", name="/queue mode set")
        fields = form.get_by_role("textbox").or_(form.get_by_role("combobox"))
        await expect(fields.first).to_be_focused()
        assert [await one.get_attribute("aria-label") for one in await fields.all()] == [
            *("text", "colour", "count", "loud", "who", "where")
        ]
        # 2. What is wrong is said at its field, and nothing is sent.
        await page.keyboard.press("Enter")
        await expect(form.get_by_role("alert")).to_have_text("text is required.")
        await owner.option("text").fill("words")
        await owner.option("colour").fill("Blue")
        await page.keyboard.press("Enter")
        await expect(form.get_by_role("alert")).to_have_text("colour: choose one of the suggestions.")
        await owner.option("colour").fill("re")
        await page.keyboard.press("Tab")
        await expect(owner.option("colour")).to_have_value("Red")
        await owner.option("count").fill("9")
        await page.keyboard.press("Enter")
        await expect(form.get_by_role("alert")).to_have_text("count: from 1 to 5.")
        await owner.option("count").fill("3")
        await owner.option("loud").fill("True")
        await owner.option("who").fill("bob")
        await owner.option("where").fill("general")
        await expect(form.get_by_label("second")).to_have_count(0)
        await form.get_by_label("file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hi"})
        await expect(form.get_by_label("second")).to_have_count(1)
        async with page.expect_request("**/interactions") as sending:
            await form.get_by_role("button", name="Send command").click()
        await expect(form).to_have_count(0)
        found = re.search(r"^\{.*\}\r?$", (await sending.value).post_data or "", re.MULTILINE)
        assert found is not None
        data = json.loads(found[0])["data"]
        values = {"text": "words", "colour": "r", "count": 3, "loud": True, "who": str(bob.id)}
        values |= {"where": str(discord.channel_id), "file": "0"}
        kinds = {str(one["name"]): one["type"] for one in OPTIONS}
        filled = [{"name": name, "type": kinds[name], "value": value} for name, value in values.items()]
        inner = [{"type": 1, "name": "set", "options": filled}]
        assert data["options"] == [{"type": 2, "name": "mode", "options": inner}]
        assert data["attachments"] == [{"id": "0", "filename": "a.txt"}]
        assert len(discord.interactions) == 1
        assert discord.messages(discord.channel_id) == []


@pytest.mark.soak
async def test_a_silent_bot_costs_nobody_what_they_typed(chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command goes back to its fields, a form stays open and keeps its text, a button says that it failed."""
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_SECONDS", 0.3)
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Press", "custom_id": "press"}]}
    async with raw_client() as (discord, raw), visiting(chromium, discord) as owner:
        await raw.call("PUT", f"/applications/{discord.application_id}/commands", COMMANDS)
        await raw.post(discord.channel_id, "a card", components=[row])
        page = owner.page
        # 1. A command.
        await choose(owner, "/plain")
        await page.get_by_role("button", name="Send command").click()
        await page.get_by_role("button", name="Edit and try again").click()
        await expect(page.get_by_role("button", name="Send command")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(owner.composer).to_be_focused()
        # 2. A button, and the form that it opens when the bot is back.
        card = owner.message("a card")
        await card.get_by_role("button", name="Press").click()
        await expect(card.get_by_role("alert")).to_contain_text("This interaction failed")
        await open_form(owner, raw)
        form = owner.dialog("A form")
        await form.get_by_role("textbox", name="Why").fill("because")
        await form.get_by_role("button", name="Submit").click()
        await expect(form.get_by_role("alert")).to_contain_text("What you typed is kept")
        # 3. Closed, it gives the focus back, and opened again it has what was typed.
        await page.keyboard.press("Escape")
        await expect(form).to_have_count(0)
        await expect(card.get_by_role("button", name="Press")).to_be_focused()
        await open_form(owner, raw)
        await expect(form.get_by_role("textbox", name="Why")).to_have_value("because")


async def open_form(owner: Client, raw: Raw) -> None:
    """Press the card's button, and answer with the form."""
    known = len(owner.discord.interactions)
    await owner.message("a card").get_by_role("button", name="Press").click()
    await owner.discord.wait_for(lambda discord: len(discord.interactions) > known)
    pressed = owner.discord.interactions[-1]
    await raw.call("POST", f"/interactions/{pressed.id}/{pressed.token}/callback", {"type": 9, "data": MODAL})
