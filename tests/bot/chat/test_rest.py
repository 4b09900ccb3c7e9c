"""Calls to Discord: what is tried again, what is refused before Discord bans us, what an observer learns of each."""

from __future__ import annotations

import aiohttp
import anyio
import pytest
import yarl
from structlog.testing import capture_logs

from bot.chat.authorize import Policy
from bot.chat.port import DiscordChat
from bot.chat.rest import (
    CLOSED,
    METHODS,
    ROUTES,
    SPARING,
    WINDOW,
    Breaker,
    Level,
    RetryLimits,
    TryAgain,
    route,
    trace_config,
    unbroken,
)
from bot.model import Actor, Inbound
from bot.redaction import Redactor
from bot.reply.port import Body, PortError, ThreadGone, Unavailable
from bot.sandbox import FakeDiscord, Fault
from tests.bot.chat.harness import running_chat
from tests.bot.chat.test_port import EDITS, SENDS, in_a_thread
from tests.bot.work.observing import Noted


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refuse(breaker: Breaker, times: int, status: int = 403) -> None:
    for _ in range(times):
        breaker.count(status)


def test_it_opens_in_two_steps_below_a_thousand() -> None:
    """D10: Discord bans the address at 10,000 in ten minutes; signs go first, then everything."""
    breaker = Breaker(clock=Clock())
    refuse(breaker, SPARING - 1)
    assert breaker.level() is Level.ALL
    assert breaker.lets(essential=False)
    refuse(breaker, 1)
    assert not breaker.lets(essential=False)
    assert breaker.lets(essential=True)
    refuse(breaker, CLOSED - SPARING)
    assert not breaker.lets(essential=True)
    assert CLOSED < 1000


@pytest.mark.parametrize(
    ("status", "scope", "counts"),
    [
        (401, None, True),
        (403, None, True),
        (429, "user", True),
        (429, "global", True),
        (429, None, True),
        (429, "shared", False),
        (404, None, False),
        (400, None, False),
        (500, None, False),
        (200, None, False),
    ],
)
def test_what_counts_as_refused_is_what_discord_counts(status: int, scope: str | None, counts: bool) -> None:
    """D10: a limit shared with others is nobody's fault."""
    breaker = Breaker(sparing=1, closed=2, clock=Clock())
    breaker.count(status, scope)
    assert breaker.lets(essential=False) is not counts


def test_it_closes_as_the_window_slides_on() -> None:
    """D10: nobody has to restart the bot."""
    clock = Clock()
    breaker = Breaker(sparing=2, closed=3, clock=clock)
    refuse(breaker, 1)
    clock.now += 100
    refuse(breaker, 2)
    clock.now += WINDOW - 100
    assert breaker.level() is Level.ESSENTIAL
    clock.now += 100
    assert breaker.level() is Level.ALL


def test_it_opens_again_for_good_reason_only_however_much_was_refused() -> None:
    """D10: the memory is bounded, and what is over counts no more."""
    clock = Clock()
    breaker = Breaker(sparing=2, closed=3, clock=clock)
    refuse(breaker, 5000)
    clock.now += WINDOW
    refuse(breaker, 1)
    assert breaker.level() is Level.ALL


def test_each_opening_is_logged_once() -> None:
    """D10: a line for whoever runs the bot, and not one for each call."""
    clock = Clock()
    breaker = Breaker(sparing=2, closed=3, clock=clock)
    with capture_logs() as lines:
        for _ in range(2):
            refuse(breaker, 5)
            for _ in range(3):
                breaker.lets(essential=False)
            clock.now += WINDOW
            breaker.lets(essential=False)
    opened = [line["level"] for line in lines if line["event"] == "breaker.opened"]
    assert opened == ["essential", "nothing", "essential", "nothing"]


@pytest.mark.asyncio
async def test_signs_are_not_sent_any_more_when_too_much_was_refused() -> None:
    """D10, D3: texts still arrive."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        thread = chat.gateway.chat.thread(fd.channel_id)
        refuse(chat.gateway.breaker, SPARING - 1)
        await thread.typing()
        fd.faults.next("POST", "/typing", Fault.status(403, 50013))
        with pytest.raises(ThreadGone):
            await thread.typing()
        with pytest.raises(Unavailable):
            await thread.typing()
        assert len(fd.rest_calls("POST", "/typing")) == 2
        await thread.send(Body("the answer"), nonce="n1")


@pytest.mark.asyncio
async def test_nothing_is_sent_any_more_shortly_before_a_thousand_also_by_the_next_client() -> None:
    """D10: the count outlives clients."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        refuse(chat.gateway.breaker, CLOSED)
        await fd.gateway.dispatch_raw("READY", {})
        await chat.dispatcher.wait(lambda _: len(chat.readies) == 2)
        with pytest.raises(Unavailable, match="refused so many"):
            await chat.gateway.chat.thread(fd.channel_id).send(Body("text"), nonce="n1")
        assert fd.rest_calls("POST", "/messages") == []


@pytest.mark.asyncio
async def test_a_limit_that_is_shared_is_not_counted() -> None:
    """D10: read off Discord's own answer."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        refuse(chat.gateway.breaker, SPARING - 1)
        fd.faults.next("POST", "/typing", Fault.rate_limited(0.01, shared=True))
        await chat.gateway.chat.thread(fd.channel_id).typing()
        assert chat.gateway.breaker.level() is Level.ALL
        fd.faults.next("POST", "/typing", Fault.rate_limited(0.01))
        await chat.gateway.chat.thread(fd.channel_id).typing()
        assert chat.gateway.breaker.level() is Level.ESSENTIAL


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
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        observer, thread = chat.observer, chat.gateway.chat.thread(fd.channel_id)
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
    config = trace_config(Breaker(), observer)
    async with FakeDiscord() as fd, aiohttp.ClientSession(trace_configs=[config]) as session:
        fd.faults.next("GET", "/users/@me", Fault.delay(5))
        with anyio.move_on_after(0.1) as limit:
            await session.get(f"{fd.api_url}/users/@me", headers={"Authorization": f"Bot {fd.token}"})
        assert limit.cancelled_caught
        assert observer.answers == []


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_pause_before_identify")
async def test_new_sessions_of_the_gateway_and_resumed_ones_are_told_apart() -> None:
    """R2, R3"""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        observer = chat.observer
        assert chat.gateway.connected is True
        assert observer.opened == [False]
        await fd.gateway.reconnect()
        with anyio.fail_after(30):
            while observer.opened != [False, True]:  # noqa: ASYNC110  discord.py tells nobody else
                await anyio.sleep(0.01)
        async with chat.gap():
            pass
        assert observer.opened == [False, True, False]
        gateway = chat.gateway
    assert (gateway.connected, gateway.latency) == (False, None)


@pytest.mark.asyncio
async def test_the_latency_is_that_of_the_last_heartbeat() -> None:
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        await fd.gateway.request_heartbeat()
        with anyio.fail_after(30):
            while chat.gateway.latency is None:  # noqa: ASYNC110  discord.py tells nobody
                await anyio.sleep(0.01)
        assert 0 <= chat.gateway.latency < 10


@pytest.mark.asyncio
async def test_a_send_whose_answer_was_lost_is_not_posted_twice() -> None:
    """D3: exactly once: the repeated try carries the same nonce."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.RESET_AFTER, times=2)
        message_id = await chat.gateway.chat.thread(thread_id).send(Body("once"), nonce="n1")
        calls = [call.body for call in chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")]
        assert [(body["nonce"], body["enforce_nonce"]) for body in calls] == [("n1", True)] * 3
        assert [message.id for message in chat.fd.messages(thread_id) if message.content == "once"] == [message_id]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault.status(503), Fault.RESET_BEFORE, Fault.RESET_AFTER], ids=lambda one: one.kind)
async def test_what_may_heal_is_tried_again(fault: Fault) -> None:
    """D3: 503 and resets, which discord.py does not repeat by itself."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("first"), nonce="n1")
        chat.fd.faults.next("PATCH", EDITS, fault, times=3)
        await port.edit(message_id, Body("second"))
        assert chat.fd.message(message_id).content == "second"
        assert len(chat.fd.rest_calls("PATCH")) == 4


@pytest.mark.asyncio
async def test_when_the_budget_is_spent_the_message_is_unavailable() -> None:
    """D3: Discord down for longer than the budget: the caller decides what next."""
    async with in_a_thread() as (chat, thread_id):
        impatient = DiscordChat(
            chat.gateway.current, RetryLimits(budget=0.5, first=0.01, longest=0.05), Breaker(), Redactor()
        )
        chat.fd.faults.next("POST", SENDS, Fault.status(503), times=1000)
        with pytest.raises(Unavailable, match="503"):
            await impatient.thread(thread_id).send(Body("hello"), nonce="n1")
        assert 1 < len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) < 50


@pytest.mark.asyncio
async def test_a_ban_of_the_address_is_not_insisted_on() -> None:
    """D3: a 429 without Via means Cloudflare: more requests make it longer."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.rate_limited(40, via=False), times=5)
        with pytest.raises(Unavailable):
            await chat.gateway.chat.thread(thread_id).send(Body("hello"), nonce="n1")
        assert chat.fd.faults.pending == 4


@pytest.mark.asyncio
async def test_without_a_connection_calls_wait_for_one_within_the_budget() -> None:
    """D3: between two clients nothing is lost; after the budget it is unavailable."""

    def nobody() -> object:
        raise TryAgain("not yet")

    chat = DiscordChat(nobody, RetryLimits(budget=0.02, first=0.001, longest=0.005), Breaker(), Redactor())  # type: ignore[arg-type]
    inbound = Inbound(1, 2, 1, 3, Actor(4, "alice"), "text", opens_thread=True, title="title")
    with pytest.raises(Unavailable, match="not yet"):
        await chat.open_thread(inbound)


@pytest.mark.asyncio
async def test_a_call_that_has_begun_survives_the_cancellation_of_its_caller() -> None:
    """D3: a cancelled edit would be applied all the same and slow down the next one."""
    begun, finished = anyio.Event(), []

    async def edit() -> None:
        begun.set()
        await anyio.lowlevel.checkpoint()
        finished.append(True)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(unbroken, edit)
            await begun.wait()
            group.cancel_scope.cancel()
    assert finished == [True]


@pytest.mark.asyncio
async def test_a_call_that_hangs_does_not_hold_up_a_shutdown() -> None:
    """R1: the shield is bounded once a cancellation has come."""
    begun = anyio.Event()

    async def hang() -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(unbroken, hang, 0.01)
            await begun.wait()
            group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught


@pytest.mark.asyncio
async def test_an_error_of_a_call_comes_out_as_it_is() -> None:
    """D3: callers tell errors apart by their type, so no group may wrap them."""

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await unbroken(fail)


@pytest.mark.asyncio
async def test_a_read_that_was_cancelled_does_not_hold_the_next_one_back() -> None:
    """R2: discord.py would wait 30 s before it asks for the same history again."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        chat.fd.faults.next("GET", SENDS, Fault.delay(0.2))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(port.own_messages, thread_id, 50)
                while chat.fd.faults.pending:
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        with anyio.fail_after(30):
            assert await port.own_messages(thread_id, 50) == []


@pytest.mark.asyncio
async def test_a_ban_page_by_the_proxy_says_nothing_of_the_thread() -> None:
    """D10: what is not in Discord's own words cancels no turn."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.html(403))
        with pytest.raises(Unavailable):
            await chat.gateway.chat.thread(thread_id).send(Body("hello"), nonce="n1")
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) == 1
