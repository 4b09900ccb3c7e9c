"""Every answer of Discord is told by its kind, and neither ids nor tokens are."""

from __future__ import annotations

import aiohttp
import anyio
import pytest
import yarl

from bot.chat.calls import METHODS, ROUTES, route, timed
from bot.chat.client import WeftClient
from bot.reply.port import Body, PortError
from bot.sandbox import FakeDiscord, Fault
from tests.bot.work.observing import Noted

from .harness import office

API = "https://discord.com/api/v10"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/channels/123456789012345678", "channels"),
        ("/channels/1/messages", "messages"),
        ("/channels/1/messages/2", "messages"),
        ("/channels/1/messages/2/reactions/%F0%9F%91%80/@me", "reactions"),
        ("/channels/1/messages/2/threads", "threads"),
        ("/channels/1/threads", "threads"),
        ("/channels/1/typing", "typing"),
        ("/guilds/1/members/2", "guilds"),
        ("/users/@me", "users"),
        ("/oauth2/applications/@me", "oauth2"),
        ("/applications/1/commands", "applications"),
        ("/interactions/1/canary-token/callback", "interactions"),
        ("/webhooks/1/canary-token/messages/@original", "webhooks"),
        ("/gateway/bot", "gateway"),
        ("/canary/1", "other"),
        ("", "other"),
    ],
)
def test_a_call_is_named_by_one_of_a_few_words(path: str, kind: str) -> None:
    assert route(yarl.URL(API + path)) == kind
    assert kind in ROUTES


def test_the_gateway_is_known_by_its_scheme() -> None:
    assert route(yarl.URL("wss://gateway.discord.gg/?v=10&encoding=json")) == "gateway"


@pytest.mark.asyncio
async def test_answers_refusals_and_failures_are_told_with_their_times() -> None:
    """D10: also those that discord.py repeats by itself."""
    observer = Noted()
    async with FakeDiscord() as fd, office(fd, observer=observer) as bureau:
        thread = bureau.gateway.chat.thread(fd.channel_id)
        fd.faults.next("POST", "/messages$", Fault.rate_limited(0.01))
        await thread.send(Body("hello"), nonce="1")
        fd.faults.next("POST", "/messages$", Fault.status(403, 50013))
        with pytest.raises(PortError):
            await thread.send(Body("hello"), nonce="2")
        fd.faults.next("POST", "/messages$", Fault.RESET_BEFORE)
        await thread.send(Body("hello"), nonce="3")
        posts = [status for method, kind, status in observer.answers if (method, kind) == ("POST", "messages")]
        assert posts == [429, 200, 403, 0, 200]
        assert observer.limits == ["user"]
        assert {method for method, _, _ in observer.answers} <= METHODS
        assert {kind for _, kind, _ in observer.answers} <= set(ROUTES)
        assert "gateway" in {kind for _, kind, _ in observer.answers}
        assert all(0 <= seconds < 10 for seconds in observer.seconds)


@pytest.mark.asyncio
async def test_a_call_that_is_cut_off_is_not_held_against_discord() -> None:
    observer = Noted()
    config = timed(aiohttp.TraceConfig(), observer)
    async with FakeDiscord() as fd, aiohttp.ClientSession(trace_configs=[config]) as session:
        fd.faults.next("GET", "/users/@me", Fault.delay(5))
        with anyio.move_on_after(0.1) as limit:
            await session.get(f"{fd.api_url}/users/@me", headers={"Authorization": f"Bot {fd.token}"})
        assert limit.cancelled_caught
        assert observer.answers == []


@pytest.mark.asyncio
async def test_new_sessions_of_the_gateway_and_resumed_ones_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """R2, R3"""

    async def at_once(_client: WeftClient, _shard: int | None, *, initial: bool = False) -> None:
        del initial  # discord.py waits five seconds after a refused RESUME

    monkeypatch.setattr(WeftClient, "before_identify_hook", at_once)
    observer = Noted()
    async with FakeDiscord() as fd, office(fd, observer=observer) as bureau:
        assert bureau.gateway.connected is True
        assert observer.opened == [False]
        await fd.gateway.reconnect()
        with anyio.fail_after(10):
            while observer.opened != [False, True]:  # noqa: ASYNC110  discord.py tells nobody else
                await anyio.sleep(0.01)
        async with bureau.gap():
            pass
        assert observer.opened == [False, True, False]
        gateway = bureau.gateway
    assert (gateway.connected, gateway.latency) == (False, None)


@pytest.mark.asyncio
async def test_the_latency_is_that_of_the_last_heartbeat() -> None:
    async with FakeDiscord() as fd, office(fd) as bureau:
        await fd.gateway.request_heartbeat()
        with anyio.fail_after(10):
            while bureau.gateway.latency is None:  # noqa: ASYNC110  discord.py tells nobody
                await anyio.sleep(0.01)
        assert 0 <= bureau.gateway.latency < 10
