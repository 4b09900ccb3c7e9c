"""Files from Discord's CDN: from its own hosts only, counted, with fresh addresses, and without the bot's token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import aiohttp
import anyio
import pytest
import yarl

from bot.chat import downloads
from bot.chat.downloads import BLOCK, GONE, NOT_DISCORDS, NOT_SENT, Downloads
from bot.model import Attachment
from bot.sandbox import FakeDiscord, Message
from bot.sandbox.objects import LIFETIME_SECONDS, message_json
from bot.work.ports import DownloadFailed, TryDownloadAgain
from tests.bot.sandbox.test_cdn import Wall

MANY = 10 * BLOCK


@dataclass
class Saved:
    blocks: list[bytes] = field(default_factory=list)

    async def __call__(self, data: bytes) -> None:
        self.blocks.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.blocks)


def attachment_of(discord: FakeDiscord, message: Message) -> Attachment:
    told = message_json(discord.state, message)["attachments"][0]
    kind, url = told["content_type"], told["url"]
    return Attachment(int(told["id"]), told["filename"], told["size"], kind, url, message.channel_id, message.id)


async def posted(discord: FakeDiscord, name: str, data: bytes) -> tuple[Message, Attachment]:
    message = await discord.owner.say(discord.channel_id, files=[(name, data)])
    return message, attachment_of(discord, message)


async def never(_attachment: Attachment) -> Attachment | None:
    raise AssertionError("nothing is asked for anew")


def asking(discord: FakeDiscord, message: Message) -> Callable[[Attachment], Awaitable[Attachment | None]]:
    async def renew(_attachment: Attachment) -> Attachment | None:
        return attachment_of(discord, message)

    return renew


pytestmark = pytest.mark.asyncio


async def test_a_file_comes_whole_in_large_blocks_and_discord_sees_no_token() -> None:
    """F4, R5."""
    async with FakeDiscord() as discord:
        data = bytes(range(256)) * 4096 * 3
        _, attachment = await posted(discord, "a b.bin", data)
        saved = Saved()
        await Downloads(never, discord.api_url).fetch(attachment, saved, len(data))
        assert saved.data == data
        assert all(BLOCK <= len(block) < 4 * BLOCK for block in saved.blocks[:-1])
        (request,) = discord.cdn.requests
        assert {"authorization", "cookie"}.isdisjoint(name.lower() for name in request.headers)
        assert request.headers["Accept-Encoding"] == "identity"


async def test_an_address_that_has_expired_is_asked_for_anew_before_it_is_tried() -> None:
    """F3."""
    wall = Wall()
    async with FakeDiscord(wall=wall) as discord:
        message, attachment = await posted(discord, "a.txt", b"hello")
        wall.now += LIFETIME_SECONDS
        saved = Saved()
        await Downloads(asking(discord, message), discord.api_url, wall).fetch(attachment, saved, MANY)
        assert saved.data == b"hello"
        assert len(discord.cdn.requests) == 1


@pytest.mark.parametrize("status", [403, 404])
async def test_an_address_that_is_refused_is_asked_for_anew_once(status: int) -> None:
    """F3: whatever the address itself says."""
    async with FakeDiscord() as discord:
        message, attachment = await posted(discord, "a.txt", b"hello")
        discord.cdn.answer("a.txt", status)
        saved, fetch = Saved(), Downloads(asking(discord, message), discord.api_url).fetch
        await fetch(attachment, saved, MANY)
        assert saved.data == b"hello"
        discord.cdn.answer("a.txt", status, times=5)
        with pytest.raises(DownloadFailed, match=GONE):
            await fetch(attachment, saved, MANY)
        assert len(discord.cdn.requests) == 4


async def test_a_file_that_its_message_has_no_more_is_gone() -> None:
    """F3."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.txt", b"hello")

        async def no_more(_attachment: Attachment) -> Attachment | None:
            return None

        discord.cdn.answer("a.txt", 404)
        with pytest.raises(DownloadFailed, match=GONE) as caught:
            await Downloads(no_more, discord.api_url).fetch(attachment, Saved(), MANY)
        assert not isinstance(caught.value, TryDownloadAgain)


@pytest.mark.parametrize(
    "address",
    [
        "http://cdn.discordapp.com/attachments/1/2/a.png",
        "https://cdn.discordapp.com:8443/attachments/1/2/a.png",
        "https://cdn.discordapp.com.evil.example/a.png",
        "https://cdn.discordapp.com@evil.example/a.png",
        "https://user@cdn.discordapp.com/a.png",
        "https://evil.example/cdn.discordapp.com/a.png",
        "https://127.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://[::1",
        "https://:secret@cdn.discordapp.com/a.png",
        "https://xn--cdn-.discordapp.com/a.png",
        "https://xn--a.discordapp.com/a.png",
        "https://cdn.discordapp.com./a.png",
        "https://cdn.discordapp.com:99999/a.png",
        "//cdn.discordapp.com/a.png",
        "a.png",
        "",
    ],
)
async def test_only_discord_s_own_hosts_are_asked(address: str) -> None:
    """F4: whatever the message says."""
    attachment = Attachment(1, "a.png", 3, "image/png", address, 2, 3)
    for api in (None, "http://127.0.0.1:1/api/v10"):
        with pytest.raises(DownloadFailed, match=NOT_DISCORDS):
            await Downloads(never, api).fetch(attachment, Saved(), MANY)


@pytest.mark.parametrize(
    "location", ["http://evil.example/", "https://cdn.discordapp.com.evil.example/", "file:///etc/passwd", ""]
)
async def test_no_redirect_leads_elsewhere(location: str) -> None:
    """F4."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.txt", b"hello")
        elsewhere = location or str(yarl.URL(attachment.url).with_port(1))
        discord.cdn.answer("a.txt", 302, {"Location": elsewhere})
        saved = Saved()
        with pytest.raises(DownloadFailed, match=NOT_DISCORDS):
            await Downloads(never, discord.api_url).fetch(attachment, saved, MANY)
        assert saved.blocks == []


async def test_a_redirect_within_discord_is_followed_and_a_circle_is_not_for_ever() -> None:
    """F4."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.txt", b"hello")
        discord.cdn.answer("a.txt", 307, {"Location": attachment.url})
        saved, fetch = Saved(), Downloads(never, discord.api_url).fetch
        await fetch(attachment, saved, MANY)
        assert saved.data == b"hello"
        discord.cdn.answer("a.txt", 307, {"Location": attachment.url}, times=100)
        with pytest.raises(DownloadFailed, match=NOT_SENT):
            await fetch(attachment, saved, MANY)
        assert len(discord.cdn.requests) < 10


async def test_a_stream_without_end_is_left_at_the_limit() -> None:
    """F4: what is declared is not believed, what arrives is counted."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"x")
        discord.cdn.endless("a.bin")
        saved = Saved()
        with anyio.fail_after(30), pytest.raises(DownloadFailed, match=r"larger than 2\.5 MiB"):
            await Downloads(never, discord.api_url).fetch(replace(attachment, size=1), saved, MANY)
        assert len(saved.data) <= MANY


async def test_what_is_larger_by_its_own_account_is_not_even_begun() -> None:
    """F4."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"x" * 1001)
        saved, fetch = Saved(), Downloads(never, discord.api_url).fetch
        with pytest.raises(DownloadFailed, match="larger than"):
            await fetch(replace(attachment, size=1), saved, 1000)
        assert saved.blocks == []
        await fetch(attachment, saved, 1001)
        assert len(saved.data) == 1001


async def test_a_server_in_trouble_is_worth_another_try() -> None:
    """F4."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"x")
        for status in (429, 500, 503):
            discord.cdn.answer("a.bin", status)
            with pytest.raises(TryDownloadAgain, match=NOT_SENT):
                await Downloads(never, discord.api_url).fetch(attachment, Saved(), MANY)
        discord.cdn.answer("a.bin", 410)
        with pytest.raises(DownloadFailed, match=NOT_SENT) as caught:
            await Downloads(never, discord.api_url).fetch(attachment, Saved(), MANY)
        assert not isinstance(caught.value, TryDownloadAgain)
    with pytest.raises(TryDownloadAgain, match=NOT_SENT):  # nobody listens there any more
        await Downloads(never, discord.api_url).fetch(attachment, Saved(), MANY)


async def test_a_stream_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """F3."""
    monkeypatch.setattr(downloads, "TIMEOUT", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"hello")
        discord.cdn.hang("a.bin", after=3)
        with anyio.fail_after(30), pytest.raises(TryDownloadAgain, match=NOT_SENT):
            await Downloads(never, discord.api_url).fetch(attachment, Saved(), MANY)


async def test_an_encoding_that_nobody_asked_for_is_refused() -> None:
    """F4: a small stream might unpack to a large one."""
    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"hello")
        discord.cdn.answer("a.bin", 200, {"Content-Encoding": "gzip"})
        with pytest.raises(DownloadFailed, match=NOT_SENT):
            await Downloads(never, discord.api_url).fetch(attachment, Saved(), MANY)


async def test_an_error_of_who_saves_is_not_taken_for_discord_s() -> None:
    """F4: a full disk is no reason to try again."""

    async def full(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with FakeDiscord() as discord:
        _, attachment = await posted(discord, "a.bin", b"hello")
        with pytest.raises(OSError, match="No space"):
            await Downloads(never, discord.api_url).fetch(attachment, full, MANY)
