"""What people do with messages on the page, alone and in front of others: each sees what the other does."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Browser, FilePayload, expect

from bot.sandbox import ChannelType, FakeDiscord
from tests.agents import scenario
from tests.browser.client import visiting
from tests.e2e.busy import friends
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")

BYTES = bytes(range(256)) * 40
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.soak
async def test_two_people_see_what_each_does_with_messages(tmp_path: Path, chromium: Browser) -> None:
    """Edits, deletes, replies, forwards, reactions and a thread of people's own, on both pages at once."""
    async with (
        play(tmp_path, scenario(tmp_path), **friends("ana")) as game,
        visiting(chromium, game.discord) as owner,
        visiting(chromium, game.discord, "ana") as ana,
    ):
        discord = game.discord
        # 1. A message and a reply to it, which names the one it answers.
        await owner.send("The first **word**")
        await expect(ana.content("The first word")).to_be_visible()
        await ana.action(ana.message("The first word"), "Reply")
        await ana.send("A reply")
        await expect(owner.message("A reply")).to_contain_text("owner")
        first, reply = discord.messages(discord.channel_id)
        assert reply.reference_id == first.id
        # 2. An edit, by the button and with a text that was changed.
        await owner.action(owner.message(first), "Edit")
        editor = owner.page.get_by_role("textbox", name="Edit message")
        await expect(editor).to_have_value("The first **word**")
        await editor.fill("The last word")
        await editor.press("Enter")
        await expect(ana.message(first)).to_contain_text("The last word")
        await expect(ana.message(first)).to_contain_text("edited")
        # 3. Reactions: one adds, the other joins and leaves again.
        await owner.action(owner.message(reply), "Add reaction")
        await owner.page.get_by_role("button", name="👍").or_(owner.page.get_by_role("option", name="👍")).first.click()
        theirs = ana.message(reply).get_by_role("button", name=re.compile("^👍, "))
        await expect(theirs).to_have_attribute("aria-pressed", "false")
        await theirs.click()
        await expect(theirs).to_have_accessible_name("👍, 2 reactions")
        await expect(owner.message(reply).get_by_role("button", name="👍, 2 reactions")).to_be_visible()
        await theirs.click()
        await expect(theirs).to_have_accessible_name("👍, 1 reaction")
        # 4. Nobody else's message can be edited; one's own is deleted for both.
        await ana.message(first).hover()
        toolbar = ana.message(first).get_by_role("toolbar", name="Message actions")
        await expect(toolbar.get_by_role("button", name="Reply")).to_be_visible()
        await expect(toolbar.get_by_role("button", name="Edit", exact=True)).to_have_count(0)
        await ana.action(ana.message(reply), "Delete")
        await ana.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        for person in (owner, ana):
            await expect(person.message(reply)).to_have_count(0)
        # 5. A thread that somebody starts, and a message that is forwarded into it.
        await ana.action(ana.message(first), "Start thread")
        await ana.page.get_by_role("dialog").get_by_role("textbox").fill("Among us")
        await ana.page.get_by_role("dialog").get_by_role("button", name=re.compile("^(Start|Create)")).click()
        await owner.open("Among us")
        await ana.open("general")
        await ana.action(ana.message(first), "Forward")
        dialog = ana.page.get_by_role("dialog")
        await (
            dialog.get_by_role("option", name="Among us")
            .or_(dialog.get_by_role("button", name="Among us"))
            .or_(dialog.get_by_role("radio", name="Among us"))
            .first.click()
        )
        if await dialog.count():
            await dialog.get_by_role("button", name=re.compile("^(Forward|Send)")).first.click()
        forwarded = owner.message("The last word").filter(has_text="Forwarded")
        await expect(forwarded).to_be_visible()


async def test_files_go_up_and_come_back_byte_by_byte(tmp_path: Path, chromium: Browser) -> None:
    """F1, F7: by the button and with words; a picture is shown, anything else is downloaded."""
    files = {"{out}/back.bin": base64.b64encode(BYTES).decode(), "{out}/dot.png": base64.b64encode(PICTURE).decode()}
    agent = scenario(tmp_path, [{"files": files}, {"text": "Here they are."}])
    async with play(tmp_path, agent) as game, visiting(chromium, game.discord) as owner:
        async with owner.page.expect_file_chooser() as chosen:
            await owner.page.get_by_role("button", name="Attach files").click()
        notes = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"to be read in place")
        binary = FilePayload(name='Büro "1".bin', mimeType="application/octet-stream", buffer=BYTES)
        await (await chosen.value).set_files([binary, notes])
        await owner.mention("take it")
        (sent,) = game.discord.messages(game.discord.channel_id)
        await expect(owner.message(sent)).to_contain_text("bin")
        await expect(owner.message(sent)).to_contain_text("to be read in place")
        assert [one.content for one in sent.attachments] == [BYTES, notes["buffer"]]
        await owner.open("take it")
        link = owner.log.get_by_role("link", name=re.compile("back.bin"))
        async with owner.page.expect_download() as downloading:
            await link.first.click()
        assert await anyio.Path(await (await downloading.value).path()).read_bytes() == BYTES
        shown = owner.log.get_by_role("img", name="dot.png")
        await expect(shown).to_be_visible()
        assert await shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
        (thread,) = game.discord.threads()
        assert "bin" in agent.prompts()[0] + str(agent.received("session/prompt")[0])
        await game.outcome(thread.id)


@pytest.mark.soak
async def test_a_forum_post_and_a_direct_message_are_conversations(tmp_path: Path, chromium: Browser) -> None:
    """S6, S7"""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        tags = ("bug", "working", "done")
        return {"forums": (discord.add_channel("tasks", ChannelType.FORUM, tags=tags),)}

    async with play(tmp_path, scenario(tmp_path), invite=invite, direct_messages=True) as game:
        direct = game.discord.open_dm(game.discord.owner)
        async with visiting(chromium, game.discord) as owner:
            # 1. A post, with a title, a tag and a first message.
            await owner.open("tasks")
            await owner.page.get_by_role("button", name=re.compile("^New post")).click()
            await owner.page.get_by_role("textbox", name=re.compile("^Title")).fill("Tidy up")
            await owner.page.get_by_role("textbox", name=re.compile("^(Message|First message|Text)")).last.fill(
                "please"
            )
            await (
                owner.page.get_by_role("button", name="bug")
                .or_(owner.page.get_by_role("checkbox", name="bug"))
                .first.click()
            )
            await owner.page.get_by_role("button", name=re.compile("^(Post|Create post)")).click()
            await expect(owner.place).to_have_text("Tidy up")
            (post,) = game.discord.threads()
            await game.outcome(post.id)
            await expect(owner.message("please")).to_have_count(2)
            assert "bug" in game.discord.tags(post.id)
            # 2. A direct message needs no mention.
            await owner.open("Weft")
            await owner.send("hello there")
            await expect(owner.message("hello there")).to_have_count(2)
            assert game.shown(direct).startswith("hello there")
