"""Injected REST faults, as discord.py and the log see them."""

import time

import aiohttp
import discord
import pytest

from bot.sandbox import Fault, delay, html, status
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.raw import SteppedClock, raw_client

pytestmark = pytest.mark.asyncio


async def test_a_retry_with_the_same_nonce_after_a_lost_answer_posts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        channel = bot.get_partial_messageable(fd.channel_id)
        fd.faults.next("POST", "/messages$", Fault.RESET_AFTER)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await channel.send("once", nonce="turn-1")
        again = await channel.send("once", nonce="turn-1")

        (message,) = fd.messages(fd.channel_id)
        assert message.id == again.id
        assert [one.status for one in fd.rest_calls("POST", "/messages")] == [0, 200]
        assert fd.faults.pending == 0
        fd.assert_clean()


async def test_a_reset_before_the_change_posts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        fd.faults.next("POST", "/messages$", Fault.RESET_BEFORE)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await bot.get_partial_messageable(fd.channel_id).send("never")

        assert fd.messages(fd.channel_id) == []


async def test_a_nonce_is_forgotten_after_3_minutes_and_is_each_authors_own() -> None:
    clock = SteppedClock()
    async with raw_client(clock=clock) as (fd, raw):
        first = await raw.post(fd.channel_id, nonce="n", enforce_nonce=True)
        clock.now += 180
        same = await raw.post(fd.channel_id, nonce="n", enforce_nonce=True)
        unenforced = await raw.post(fd.channel_id, nonce="n")
        clock.now += 1
        later = await raw.post(fd.channel_id, nonce="n", enforce_nonce=True)

        assert first.id == same.id
        assert len({first.id, unenforced.id, later.id}) == 3
        assert first.data["nonce"] == "n"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(403, 50013), discord.Forbidden),
        (status(404, 10008), discord.NotFound),
        (status(400, 50083), discord.HTTPException),
        (status(503), discord.DiscordServerError),
    ],
)
async def test_an_injected_status_is_the_librarys_exception(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[discord.HTTPException]
) -> None:
    async with connected(monkeypatch) as (fd, bot):
        message = await bot.get_partial_messageable(fd.channel_id).send("hi")
        fd.faults.next("PATCH", r"/messages/\d+$", fault)
        with pytest.raises(error) as caught:
            await message.edit(content="new")

        assert (caught.value.status, caught.value.code) == (fault.http_status, fault.code)
        assert fd.messages(fd.channel_id)[0].content == "hi"
        fd.assert_clean()


async def test_a_page_of_html_is_no_json() -> None:
    async with raw_client() as (fd, raw):
        fd.faults.next("POST", "/messages$", html(502))
        answer = await raw.post(fd.channel_id)

        assert answer.status == 502
        assert answer.data.startswith("<!DOCTYPE html>")


async def test_a_fault_hits_as_often_as_asked_and_only_what_it_names() -> None:
    async with raw_client() as (fd, raw):
        fd.faults.next("POST", "/messages$", status(503), times=2)
        typing = await raw.call("POST", f"/channels/{fd.channel_id}/typing")
        answers = [(await raw.post(fd.channel_id)).status for _ in range(3)]

        assert typing.status == 204
        assert answers == [503, 503, 200]


async def test_a_delay_holds_the_request_back() -> None:
    async with raw_client() as (fd, raw):
        fd.faults.next("POST", "/messages$", delay(0.05))
        before = time.monotonic()
        await raw.post(fd.channel_id)

        assert fd.timeline(fd.messages(fd.channel_id)[0].id)[0][0] - before >= 0.05
        (call,) = fd.rest_calls("POST")
        assert call.ended - call.time >= 0.05


async def test_a_message_that_a_user_deleted_is_unknown_to_the_next_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        message = await bot.get_partial_messageable(fd.channel_id).send("streaming")
        await fd.delete_message(message.id)
        with pytest.raises(discord.NotFound) as caught:
            await message.edit(content="more")

        assert caught.value.code == 10008


async def test_a_rate_limit_can_be_shared_with_others() -> None:
    async with raw_client() as (fd, raw):
        fd.faults.next("POST", "/typing$", Fault.rate_limited(0.5, shared=True))
        fd.faults.next("POST", "/typing$", Fault.rate_limited(0.5))
        scopes = [
            (await raw.call("POST", f"/channels/{fd.channel_id}/typing")).headers["X-RateLimit-Scope"] for _ in range(2)
        ]

        assert scopes == ["shared", "user"]
