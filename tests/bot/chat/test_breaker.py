"""What is counted as refused, and what is not sent any more."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bot.chat.authorize import Policy
from bot.chat.breaker import CLOSED, SPARING, WINDOW, Breaker, Level
from bot.reply.port import Body, ThreadGone, Unavailable
from bot.sandbox import FakeDiscord, Fault

from .harness import office


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
    async with FakeDiscord() as fd, office(fd, Policy()) as chat:
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
    async with FakeDiscord() as fd, office(fd, Policy()) as chat:
        refuse(chat.gateway.breaker, CLOSED)
        await fd.gateway.dispatch_raw("READY", {})
        await chat.desk.wait(lambda _: len(chat.readies) == 2)
        with pytest.raises(Unavailable, match="refused so many"):
            await chat.gateway.chat.thread(fd.channel_id).send(Body("text"), nonce="n1")
        assert fd.rest_calls("POST", "/messages") == []


@pytest.mark.asyncio
async def test_a_limit_that_is_shared_is_not_counted() -> None:
    """D10: read off Discord's own answer."""
    async with FakeDiscord() as fd, office(fd, Policy()) as chat:
        refuse(chat.gateway.breaker, SPARING - 1)
        fd.faults.next("POST", "/typing", Fault.rate_limited(0.01, shared=True))
        await chat.gateway.chat.thread(fd.channel_id).typing()
        assert chat.gateway.breaker.level() is Level.ALL
        fd.faults.next("POST", "/typing", Fault.rate_limited(0.01))
        await chat.gateway.chat.thread(fd.channel_id).typing()
        assert chat.gateway.breaker.level() is Level.ESSENTIAL
