"""Rate limits: discord.py keeps them, a rude client is refused, the windows follow the clock."""

import discord
import pytest

from bot.sandbox import RateLimits, rate_limited
from bot.sandbox.ratelimit import Limiter, headers
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.raw import SteppedClock, raw_client


@pytest.mark.asyncio
async def test_six_quick_edits_by_the_library_never_meet_a_429(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, rate_limits=RateLimits.SCALED) as (fd, bot):
        message = await bot.get_partial_messageable(fd.channel_id).send("0")
        for number in range(1, 7):
            await message.edit(content=str(number))

        edits = fd.rest_calls("PATCH", "/messages/")
        assert [one.status for one in edits] == [200] * 6
        assert edits[5].time - edits[0].time >= 0.499
        assert fd.messages(fd.channel_id)[0].content == "6"
        fd.assert_clean()


@pytest.mark.asyncio
async def test_a_rude_client_is_refused_with_all_that_the_library_reads() -> None:
    clock = SteppedClock()
    async with raw_client(rate_limits=RateLimits.SCALED, clock=clock) as (fd, raw):
        answers = [await raw.post(fd.channel_id) for _ in range(6)]

        assert [one.status for one in answers] == [200] * 5 + [429]
        assert [one.headers["X-RateLimit-Remaining"] for one in answers] == ["4", "3", "2", "1", "0", "0"]
        last = answers[-1]
        assert last.headers["Via"] == "1.1 google"
        assert last.headers["Retry-After"] == "0.500"
        assert last.headers["X-RateLimit-Scope"] == "user"
        assert last.data == {"message": "You are being rate limited.", "retry_after": 0.5, "global": False}
        clock.now += 0.5
        assert (await raw.post(fd.channel_id)).status == 200
        with pytest.raises(AssertionError, match="rate-limited"):
            fd.assert_clean()


@pytest.mark.asyncio
async def test_channels_have_windows_of_their_own() -> None:
    async with raw_client(rate_limits=RateLimits.REAL) as (fd, raw):
        other = fd.add_channel("other")
        for _ in range(5):
            await raw.post(fd.channel_id)

        assert (await raw.post(other)).status == 200
        assert (await raw.post(fd.channel_id)).status == 429


@pytest.mark.asyncio
async def test_without_limits_there_are_no_headers() -> None:
    async with raw_client() as (fd, raw):
        answers = [await raw.post(fd.channel_id) for _ in range(12)]

        assert {one.status for one in answers} == {200}
        assert not any(name.lower().startswith("x-ratelimit") for one in answers for name in one.headers)


@pytest.mark.asyncio
async def test_a_third_rename_is_refused_although_requests_remain() -> None:
    async with raw_client(rate_limits=RateLimits.REAL) as (fd, raw):
        message = await raw.post(fd.channel_id)
        await raw.thread(fd.channel_id, message.id)
        path = f"/channels/{message.id}"
        answers = [await raw.call("PATCH", path, {"name": f"name {number}"}) for number in range(3)]

        assert [one.status for one in answers] == [200, 200, 429]
        assert int(answers[2].headers["X-RateLimit-Remaining"]) > 0
        assert answers[2].headers["X-RateLimit-Scope"] == "shared"
        assert answers[2].data["retry_after"] > 500


@pytest.mark.asyncio
async def test_the_library_waits_out_a_429_that_was_injected(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        fd.faults.next("POST", "/messages$", rate_limited(0.01))
        await bot.get_partial_messageable(fd.channel_id).send("patience")

        assert [one.status for one in fd.rest_calls("POST", "/messages")] == [429, 200]
        fd.assert_clean()


@pytest.mark.asyncio
async def test_a_429_without_the_proxys_header_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        fd.faults.next("POST", "/messages$", rate_limited(60, via=False))
        with pytest.raises(discord.HTTPException) as caught:
            await bot.get_partial_messageable(fd.channel_id).send("banned?")

        assert caught.value.status == 429


def test_a_window_opens_with_its_first_request_and_ends_all_at_once() -> None:
    limiter = Limiter(RateLimits.REAL)
    verdicts = [limiter.judge("create_message", "1", at) for at in (0.0, 1.0, 2.0, 3.0, 4.0, 4.9, 5.0)]

    assert [one.scope for one in verdicts if one] == [None] * 5 + ["user", None]
    assert [one.remaining for one in verdicts if one] == [4, 3, 2, 1, 0, 0, 4]
    assert [one.reset_after for one in verdicts if one] == pytest.approx([5.0, 4.0, 3.0, 2.0, 1.0, 0.1, 5.0])


def test_the_global_limit_is_50_a_second_and_spares_interactions() -> None:
    limiter = Limiter(RateLimits.REAL)
    for _ in range(50):
        assert limiter.judge("other", "", 0.0) is None
    refused = limiter.judge("other", "", 0.5)

    assert refused is not None
    assert (refused.scope, refused.retry_after) == ("global", 0.5)
    assert headers(refused, 0.0)["X-RateLimit-Global"] == "true"
    assert limiter.judge("interaction", "", 0.5) is None
    assert limiter.judge("other", "", 1.0) is None


def test_times_in_headers_are_rounded_up() -> None:
    limiter = Limiter(RateLimits.REAL)
    limiter.judge("typing", "1", 0.0)
    verdict = limiter.judge("typing", "1", 0.0001)

    assert verdict is not None
    assert headers(verdict, 0.0)["X-RateLimit-Reset-After"] == "5.000"
