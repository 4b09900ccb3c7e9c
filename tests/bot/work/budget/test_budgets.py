"""What turns take is counted, told in time, and bounded, with a way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from acp.schema import decode_update
from bot.model import Actor, Outcome, QueueMode
from bot.work.budget.limits import MILLION, Amount, Budget, Limit, Scope
from bot.work.budget.measure import Mark
from bot.work.controls import NOT_YOURS_TO_ALLOW
from bot.work.recovery import EXPELLED
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import ONE_AGENT, FakeChat, PlayedSession, Work, hang, kept, running_work
from tests.bot.work.samples import ALICE, BOB
from tests.bot.work.test_steering import Listener

BERLIN = ZoneInfo("Europe/Berlin")
BOSS = Actor(13, "boss", approver=True)
ANSWERED, OVER = Outcome.ANSWERED, Outcome.OVER_BUDGET


def costs(amount: float | None, currency: str = "USD", used: int = 1000) -> Callable[[PlayedSession], None]:
    """An agent that says what its session took, and answers."""

    def play(session: PlayedSession) -> None:
        usage: dict[str, Any] = {"sessionUpdate": "usage_update", "used": used, "size": 9_000}
        if amount is not None:
            usage["cost"] = {"amount": amount, "currency": currency}
        session.feed(decode_update(usage))
        session.say("done")
        session.respond()

    return play


def noon(zone: ZoneInfo = BERLIN) -> float:
    return datetime.now(zone).replace(hour=12).timestamp()


@dataclass
class Clock:
    at: float


@asynccontextmanager
async def spending(
    *, clock: Clock | None = None, currency: str = "USD", tokens: int | None = None, **limits: Any
) -> AsyncIterator[Work]:
    """Work with limits in dollars, or in tokens for each thread; what is no limit goes to `running_work`."""
    scopes = {scope: limits.pop(scope.name.lower()) for scope in Scope if scope.name.lower() in limits}
    bounds = {scope: Limit(round(amount * MILLION)) for scope, amount in scopes.items()}
    if tokens is not None:
        bounds[Scope.THREAD] = Limit(tokens=tokens)
    parts: dict[str, Any] = {
        "dollar": costs(1),
        "two": costs(2),
        "half": costs(0.5),
        "little": costs(0.1),
        "most": costs(0.9),
    }
    named = replace(ONE_AGENT, budget=Budget(bounds, currency, BERLIN))
    async with running_work(named=named, **(parts | limits)) as work:
        if clock is not None:
            work.dispatcher.budgets.now = lambda: clock.at
        yield work


@in_virtual_time
async def test_a_thread_is_told_once_at_80_percent_and_refused_at_100() -> None:
    """A4, O1: one outcome each, and other threads go on."""
    async with spending(thread=1) as work:
        for number, (text, outcome) in enumerate(
            [("half", ANSWERED), ("most", ANSWERED), ("most", ANSWERED), ("dollar", ANSWERED), ("more", OVER)],
            1,
        ):  # fmt: skip
            work.post(number, text)
            assert await work.outcome(number) is outcome
        (told,) = work.told("💰")
        assert told.startswith("-# 💰 90% of the budget of this thread is used: $0.90 of $1.00.")
        (refused,) = work.told("Not run")
        assert refused == (
            "⚠️ **Not run:** the budget of this thread is used up ($1.00 of $1.00). An approver can allow it."
        )
        assert work.agents.prompted == ["half", "most", "most", "dollar"]
        work.post(9, "half", thread_id=200)
        assert await work.outcome(9) is ANSWERED
        assert "Spent: $1.00 of $1.00 in this thread, $1.50 today in all threads" in work.dispatcher.controls.status(
            100
        )
        assert "Spent: $1.50 today in all threads" in work.dispatcher.controls.status(None)
        assert work.dispatcher.budgets.spent_today(200) == Amount(500_000)


@in_virtual_time
async def test_a_person_is_bounded_in_all_threads_and_nobody_else_is() -> None:
    """A4: a turn counts for whoever wrote its first message."""
    async with spending(person=1) as work:
        work.post(1, "half")
        assert await work.outcome(1) is ANSWERED
        work.post(2, "most", thread_id=200)
        assert await work.outcome(2) is ANSWERED
        (told,) = work.told("💰", 200)
        assert "140% of today's budget of `alice` is used: $1.40 of $1.00." in told
        work.post(3, "half", thread_id=300)
        assert await work.outcome(3) is OVER
        assert work.told("today's budget of `alice` is used up until midnight ($1.40 of $1.00)", 300)
        work.post(4, "half", thread_id=300, author=BOB)
        assert await work.outcome(4) is ANSWERED


@in_virtual_time
async def test_the_day_begins_at_midnight_where_the_server_is_and_no_change_of_the_clock_forgets_one() -> None:
    """A4"""
    clock = Clock(datetime(2026, 10, 24, 23, 59, tzinfo=BERLIN).timestamp())
    async with spending(day=1, clock=clock) as work:
        work.post(1, "dollar")
        assert await work.outcome(1) is ANSWERED
        work.post(2, "a")
        assert await work.outcome(2) is OVER
        clock.at += 120
        work.post(3, "two", thread_id=200)
        assert await work.outcome(3) is ANSWERED
        work.post(4, "b")
        assert await work.outcome(4) is OVER
        # 25 hours, since summer time ends: 23:00 on the same day, and midnight.
        clock.at += 24 * 3600 - 120
        work.post(5, "c")
        assert await work.outcome(5) is OVER
        clock.at += 3600 + 60
        work.post(6, "little", thread_id=300)
        assert await work.outcome(6) is ANSWERED
        for number, moved in ((7, -48 * 3600), (8, 48 * 3600)):
            clock.at += moved
            work.post(number, "d")
            assert await work.outcome(number) is (OVER if moved < 0 else Outcome.ANSWERED)


@in_virtual_time
async def test_what_waits_when_the_budget_is_used_up_is_refused_and_what_runs_is_not_cut() -> None:
    """A4, O1: over all threads; an approver's word lets one of them run, and no other."""
    async with spending(day=1, max_agents=3, hang=hang, store=kept()) as work:
        work.post(1, "hang")
        work.post(2, "hang", thread_id=200)
        await work.prompted("hang", "hang")
        work.post(3, "waits")
        work.post(4, "waits too", author=BOB)
        await work.settled()
        work.agents.sessions[1].feed(
            decode_update(
                {"sessionUpdate": "usage_update", "used": 1, "size": 2, "cost": {"amount": 3, "currency": "USD"}}
            )
        )
        work.agents.sessions[1].respond()
        assert await work.outcome(3) is OVER
        assert await work.outcome(4) is OVER
        work.agents.sessions[0].respond()
        assert await work.outcome(1) is ANSWERED
        assert work.agents.prompted == ["hang", "hang"]
        notice = next(number for number, custom_id in work.buttons() if custom_id == "weft:allow:100:4")
        assert work.dispatcher.controls.allow(100, 4, notice, ALICE) == NOT_YOURS_TO_ALLOW
        assert work.dispatcher.controls.allow(100, 4, notice, BOSS).accepted
        assert await work.outcome(notice) is ANSWERED
        assert work.agents.prompted == ["hang", "hang", "waits too"]


@in_virtual_time
async def test_what_the_running_turn_did_not_take_in_is_refused_as_well() -> None:
    """A4, Q2: it would be the next turn."""
    agent = Listener(can_steer=True)
    async with spending(thread=1, mute=agent) as work:
        work.post(1, "mute")
        await work.prompted("mute")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        (running,) = work.dispatcher._runs.running.values()
        async with running.steering:
            work.post(2, "more", mode=QueueMode.STEER)
            await work.until(lambda: running.steering.statistics().tasks_waiting == 1)
            costs(1)(work.agents.sessions[0])
            await work.until(lambda: not work.dispatcher._runs.running)
        assert [await work.outcome(number) for number in (1, 2)] == [ANSWERED, OVER]
        assert (agent.given, work.agents.prompted) == ([], ["mute"])


@in_virtual_time
async def test_a_refused_burst_is_allowed_as_one_turn_after_a_restart_and_only_once() -> None:
    """A4, R2: what was spent, and what was refused, is in the store; the turn is its author's."""
    store, chat = kept(), FakeChat()
    async with spending(thread=1, store=store, chat=chat) as work:
        work.post(1, "dollar")
        await work.outcome(1)
        work.post(2, "do this")
        work.post(3, "and that")
        assert await work.outcome(3) is OVER
        assert [custom_id for _, custom_id in work.buttons()] == ["weft:allow:100:2"]
        ((notice, _),) = work.buttons()
    async with spending(thread=1, store=store, chat=chat) as work:
        work.post(4, "still refused")
        assert await work.outcome(4) is OVER
        # A press on Continue that was made up runs nothing.
        work.dispatcher.controls.go_on(100, 4, 99, ALICE)
        assert await work.outcome(99) is OVER
        assert work.agents.prompted == []
        assert work.dispatcher.controls.allow(100, 2, notice, BOSS).text == "Allowed: it runs next."
        assert not work.dispatcher.controls.allow(100, 2, notice, BOSS).accepted
        assert await work.outcome(notice) is ANSWERED
        assert work.agents.prompted == ["do this\nand that"]
    async with spending(thread=1, store=store, chat=chat) as work:
        work.dispatcher.controls.allow(100, 2, notice, BOSS)
        await work.settled()
        assert work.agents.prompted == []


@in_virtual_time
async def test_an_allowed_turn_that_waits_over_a_restart_stays_allowed() -> None:
    """A4, R2"""
    store, chat = kept(), FakeChat()
    async with spending(thread=1, store=store, chat=chat) as work:
        work.post(1, "dollar")
        await work.outcome(1)
        work.post(2, "refused")
        await work.outcome(2)
        ((notice, _),) = work.buttons()
        work.dispatcher.hold()
        work.dispatcher.controls.allow(100, 2, notice, BOSS)
        await work.settled()
    async with spending(thread=1, store=store, chat=chat, may=lambda one: one.author == ALICE) as work:
        assert await work.outcome(notice) is ANSWERED
        work.post(3, "refused", author=BOB)
        await work.outcome(3)
        work.dispatcher.controls.allow(100, 3, 98, BOSS)
        await work.shown(EXPELLED)


@in_virtual_time
async def test_an_allowed_turn_that_was_cut_off_is_not_allowed_once_more() -> None:
    """A4, R2: an approver's word is for one turn, and Continue is for everybody."""
    store, chat = kept(), FakeChat()
    async with spending(thread=1, store=store, chat=chat, hang=hang) as work:
        work.post(1, "dollar")
        await work.outcome(1)
        work.post(2, "hang")
        await work.outcome(2)
        ((notice, _),) = work.buttons()
        work.dispatcher.controls.allow(100, 2, notice, BOSS)
        await work.prompted("dollar", "hang")
        work.dispatcher.controls.go_on(100, notice, 98, ALICE)
        assert await work.outcome(98) is OVER


@in_virtual_time
async def test_a_session_goes_on_counting_where_it_was_over_a_restart() -> None:
    """A4: neither is what was counted before counted again, nor is it lost."""
    store, clock = kept(), Clock(noon())
    async with spending(thread=3, store=store, clock=clock) as work:
        work.post(1, "two")
        await work.outcome(1)
        (session,) = work.agents.sessions
    async with spending(thread=3, store=store, clock=clock, more=costs(2.25)) as work:
        assert work.dispatcher.budgets.spent_today() == Amount(2_000_000)
        work.post(2, "more")
        await work.outcome(2)
        assert work.agents.sessions[0].id == session.id
        assert work.dispatcher.budgets.spent_today(100) == Amount(2_250_000)
        # What its copy says includes what it took; of a session that is not known, it says nothing yet.
        work.dispatcher.budgets.copied("copy", session.id)
        work.dispatcher.budgets.copied("other", "unknown")
        marks = [work.dispatcher.budgets._spending.mark(one) for one in ("copy", "other")]
        assert marks == [Mark(2_250_000, "USD", 1000), None]


@in_virtual_time
async def test_what_is_first_said_in_the_second_turn_of_a_session_counts_also_after_a_restart() -> None:
    """A4: the first one may have been stopped before the agent told anything, or told of tokens alone."""
    store = kept()
    async with spending(store=store, hang=hang, tokens=10_000) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.dispatcher.controls.stop(100, ALICE)
        await work.outcome(1)
        work.post(2, "two")
        await work.outcome(2)
        assert work.dispatcher.budgets.spent_today(100) == Amount(2_000_000)
        work.post(3, "hang", thread_id=200)
        await work.prompted("hang", "two", "hang")
        work.dispatcher.controls.stop(200, ALICE)
        await work.outcome(3)
    async with spending(store=store, tokens=10_000) as work:
        work.post(4, "half", thread_id=200)
        await work.outcome(4)
        assert work.dispatcher.budgets.spent_today(200) == Amount(500_000)


@in_virtual_time
async def test_without_money_in_the_currency_tokens_count_and_what_is_no_amount_does_not() -> None:
    """A4: what an agent says has no bound and need not be true."""
    wild: dict[str, Any] = {f"w{number}": costs(amount) for number, amount in enumerate((float("nan"), -5.0, 1e308))}
    async with spending(tokens=5_000, euro=costs(7, "EUR", used=3_000), more=costs(None, used=4_600), **wild) as work:
        for number, text in enumerate(["euro", "w0", "w1", "w2", "more", "too much"], 1):
            work.post(number, text)
            await work.outcome(number)
        (told,) = work.told("💰")
        assert "% of the budget of this thread is used: " in told
        assert "of 5,000 tokens" in told
        assert await work.outcome(6) is OVER
        assert work.dispatcher.budgets.spent_today().money == 0


def test_amounts_read_as_money_or_tokens() -> None:
    """A4, D5"""
    dollars, euros = Budget(), Budget(currency="EUR")
    assert [dollars.worded(money) for money in (0, 1, 4_999, 1_200_000, 3_000_000_000)] == [
        "$0.00", "$0.0000", "$0.0050", "$1.20", "$3,000.00"
    ]  # fmt: skip
    assert euros.worded(500_000) == "0.50 EUR"
    assert Limit(MILLION, 100).used(Amount(100_000, 80)) == 0.8
    assert Limit(MILLION).used(sum([Amount(100_000)] * 10, Amount())) == 1
    noon_in_utc = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    assert Budget(zone=ZoneInfo("Pacific/Kiritimati")).day(noon_in_utc) == "2026-01-02"
