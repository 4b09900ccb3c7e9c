"""The `/_sandbox` routes, as a shell uses them."""

from typing import Any, Self

import aiohttp
import discord
import pytest

from bot.sandbox import FakeDiscord
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.raw import SILENT, raw_client

pytestmark = pytest.mark.asyncio


async def send(fd: FakeDiscord, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
    url = f"{fd.url}/_sandbox/{path}"
    asking = {"json": body, "params": query, "headers": fd.key_header}
    async with aiohttp.ClientSession() as session, session.request(method, url, **asking) as response:
        return response.status, await response.json()


async def test_the_owner_speaks_in_the_first_channel_by_default() -> None:
    async with FakeDiscord() as fd:
        code, said = await send(fd, "POST", "say", {"text": "hello", "mention": True})

        (message,) = fd.messages(fd.channel_id)
        assert code == 200
        assert said["id"] == str(message.id)
        assert (message.author_id, message.mentions) == (fd.owner.id, (fd.bot_user.id,))


async def test_another_user_speaks_in_another_channel() -> None:
    async with FakeDiscord() as fd:
        other = fd.add_channel("other")
        await send(fd, "POST", "say", {"text": "by name", "user": "bob", "channel": "other"})
        await send(fd, "POST", "say", {"text": "by id", "user": "bob", "channel": other})

        assert [one.content for one in fd.messages(other)] == ["by name", "by id"]
        assert {one.author_id for one in fd.messages(other)} == {fd.user("bob").id}


async def test_the_timeline_lists_messages_edits_and_threads() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id, "one")
        await raw.edit(fd.channel_id, message.id, "two")
        await raw.thread(fd.channel_id, message.id, "work")
        _, shown = await send(fd, "GET", "timeline")
        _, inside = await send(fd, "GET", "timeline", channel=str(message.id))

        assert [one["content"] for one in shown["messages"][0]["timeline"]] == ["one", "two"]
        assert shown["threads"] == [{"id": str(message.id), "name": "work", "archived": False, "locked": False}]
        assert inside["messages"] == []


class Asking(discord.ui.View):
    """One button that thanks."""

    @discord.ui.button(label="yes", custom_id="yes")
    async def yes(self, click: discord.Interaction, _button: discord.ui.Button[Self]) -> None:
        await click.response.send_message("thanks", ephemeral=True)


async def test_a_click_and_a_command_go_through_to_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):

        @bot.tree.command(description="Asks")
        async def ask(interaction: discord.Interaction, what: str) -> None:
            await interaction.response.send_message(what, view=Asking())

        await bot.tree.sync()
        _, used = await send(fd, "POST", "slash", {"name": "ask", "options": {"what": "ok?"}})
        _, clicked = await send(fd, "POST", "click", {"message": used["message"], "custom_id": "yes"})

        assert (used["kind"], used["response"]["content"]) == ("message", "ok?")
        assert (clicked["acked"], clicked["ephemeral"], clicked["response"]["content"]) == (True, True, "thanks")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("say", {"text": "x", "channel": "nowhere"}),
        ("say", {}),
        ("say", {"text": "x" * 2001}),
        ("click", {"message": "1", "custom_id": "x"}),
        ("slash", {"name": "nope"}),
    ],
)
async def test_a_mistake_is_answered_with_a_reason(path: str, body: Any) -> None:
    async with FakeDiscord() as fd:
        code, answer = await send(fd, "POST", path, body)

        assert code == 400
        assert answer["error"]


async def test_the_info_tells_the_ids() -> None:
    async with raw_client() as (fd, raw):
        await raw.post(fd.channel_id, allowed_mentions=SILENT)
        _, info = await send(fd, "GET", "info")

        assert info["channel"] == str(fd.channel_id)
        assert info["connected"] is False
