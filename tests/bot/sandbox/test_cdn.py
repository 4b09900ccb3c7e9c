"""The loopback Discord's CDN: addresses that expire, and what a test may ask of a file."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import aiohttp
import pytest
import yarl

from bot.sandbox import FakeDiscord
from bot.sandbox.objects import LIFETIME_SECONDS, message_json

pytestmark = pytest.mark.asyncio


class Wall:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_file_is_served_until_its_address_expires_and_an_address_told_anew_is_good_again() -> None:
    wall = Wall()
    async with FakeDiscord(wall=wall) as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[("a b.txt", b"hello")], declared=3)
        told = message_json(discord.state, message)["attachments"][0]
        assert told["size"] == 3
        assert await (await session.get(told["url"])).read() == b"hello"
        wall.now += LIFETIME_SECONDS
        assert (await session.get(told["url"])).status == 404
        renewed = message_json(discord.state, message)["attachments"][0]
        assert await (await session.get(renewed["url"])).read() == b"hello"
        forged = renewed["url"].replace("ex=", "ex=f")
        assert (await session.get(forged)).status == 404
        assert [request.name for request in discord.cdn.requests] == ["a b.txt"] * 4


async def test_nobody_makes_the_address_of_a_file_that_they_were_not_told_of() -> None:
    """Whoever sees one channel knows about when a file of another was made, and so its id."""
    async with FakeDiscord() as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[("a.txt", b"hello")])
        url = yarl.URL(message_json(discord.state, message)["attachments"][0]["url"])
        for seal in (hashlib.sha256(f"{url.raw_path}:{url.query['ex']}".encode()).hexdigest(), "", "\u00fc"):
            assert (await session.get(url.update_query(hm=seal))).status == 404, seal


async def test_the_next_requests_for_a_file_get_the_status_that_was_asked_for() -> None:
    async with FakeDiscord() as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[("a.txt", b"hello")])
        url = message_json(discord.state, message)["attachments"][0]["url"]
        discord.cdn.answer("a.txt", 302, {"Location": "http://example.invalid/"}, times=2)
        for _ in range(2):
            answer = await session.get(url, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (302, "http://example.invalid/")
        assert await (await session.get(url)).read() == b"hello"


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("a.png", "image/png", True),
        ("a.txt", "text/plain; charset=utf-8", True),
        ("a.mp3", "audio/mpeg", True),
        ("a.mp4", "video/mp4", True),
        ("a.html", "application/octet-stream", False),
        ("a.xhtml", "application/octet-stream", False),
        ("a.svg", "application/octet-stream", False),
        ("a.pdf", "application/octet-stream", False),
        ("a.js", "application/octet-stream", False),
        ("a.css", "application/octet-stream", False),
        ("a", "application/octet-stream", False),
    ],
)
async def test_a_browser_takes_no_file_for_a_page_or_a_script(name: str, kind: str, shown: bool) -> None:
    content = b"<script>fetch('/_sandbox/info')</script>"
    async with FakeDiscord() as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[(name, content)])
        told = message_json(discord.state, message)["attachments"][0]
        answer = await session.get(told["url"])
        assert await answer.read() == content
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"] == ("inline" if shown else f"attachment; filename*=UTF-8''{name}")
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_s_name_says_nothing_but_its_name() -> None:
    name = 'x"; filename=evil.html; ü.bin'
    async with FakeDiscord() as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[(name, b"x")])
        url = message_json(discord.state, message)["attachments"][0]["url"]
        answer = await session.get(yarl.URL(url, encoded=True))
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def test_a_player_gets_the_bytes_that_it_asks_for() -> None:
    async with FakeDiscord() as discord, aiohttp.ClientSession() as session:
        message = await discord.owner.say(discord.channel_id, files=[("a.mp4", b"0123456789")])
        url = message_json(discord.state, message)["attachments"][0]["url"]
        for asked, status, part, told in [
            ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-2", 206, b"89", "bytes 8-9/10"),
            ("bytes=4-99", 206, b"456789", "bytes 4-9/10"),
            ("bytes=10-", 416, b"", "bytes */10"),
            ("bytes=nonsense", 416, b"", "bytes */10"),
        ]:
            answer = await session.get(url, headers={"Range": asked})
            assert (answer.status, answer.headers["Content-Range"]) == (status, told), asked
            assert await answer.read() == part, asked
