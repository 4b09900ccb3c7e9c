"""Schedules as they fire, by a wall clock of the test's and in virtual time (A5)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
import structlog

from bot.model import Actor, Lane, Outcome, QueueMode, ThreadPlace, snowflake_at
from bot.reply.port import ThreadDeleted, ThreadGone, Unavailable
from bot.work.budget.limits import Amount, Budget, Limit, Scope
from bot.work.ports import ThreadHeader
from bot.work.schedules.cron import Timetable, told
from bot.work.schedules.firing import Firing, fired, firing_of, is_by_agent
from bot.work.schedules.runner import AT_ONCE
from bot.work.schedules.service import MOST, Schedules
from pool.store import KeptSchedule
from tests.bot.reply.fakes import FakeThread, in_virtual_time
from tests.bot.work.fakes import (
    LIMITS,
    ONE_AGENT,
    FakeChannels,
    FakeChat,
    FakeLookups,
    NotedStore,
    Work,
    kept,
    running_work,
)
from tests.bot.work.samples import ALICE, BOB, PLACE
from tests.pool.samples import spent

NOON = 1_796_040_000 - 1_796_040_000 % 3600
"""A full hour, in seconds since the epoch."""

TEN, DAY = 600, 24 * 3600
OFTEN = "*/10 * * * *"


@dataclass
class Clock:
    """The wall clock: it goes as fast as the virtual one, and can be set."""

    ahead: float = 0.0
    began: float = field(default_factory=anyio.current_time)

    def __call__(self) -> float:
        return NOON + anyio.current_time() - self.began + self.ahead


@dataclass
class Running:
    work: Work
    clock: Clock
    lookups: FakeLookups

    @property
    def schedules(self) -> Schedules:
        return self.work.dispatcher.schedules

    @property
    def rows(self) -> list[KeptSchedule]:
        return list(self.schedules.rows.values())

    def add(
        self,
        when: str = OFTEN,
        prompt: str = "look",
        *,
        thread_id: int = 100,
        by: Actor = ALICE,
        by_agent: bool = False,
    ) -> None:
        place = replace(PLACE, thread_id=thread_id)
        answer = self.schedules.make(place, by, when, prompt, by_agent=by_agent)
        assert answer.accepted, answer.text

    async def until(self, seconds: float) -> None:
        """Let the clock go on to so many seconds after noon."""
        await anyio.sleep(NOON + seconds - self.clock())

    @property
    def prompted(self) -> list[str]:
        return self.work.agents.prompted

    def asked(self, thread_id: int = 100) -> list[str]:
        """Return the first lines of the messages that ask for scheduled prompts."""
        return [text.split("\n>>> ")[0] for text in self.work.chat.texts(thread_id) if text.startswith("⏰")]

    def told(self, text: str, thread_id: int = 100) -> list[str]:
        return self.work.told(text, thread_id)


def chat() -> FakeChat:
    """Threads whose messages have the ids of their time, no two the same."""
    first = snowflake_at(NOON)
    threads = {number: FakeThread() for number in (7, *range(100, 110))}
    for number, thread in threads.items():
        thread._ids = itertools.count(first + number * 10_000)
    return FakeChat(threads=threads)


@asynccontextmanager
async def scheduling(
    store: NotedStore | None = None, in_chat: FakeChat | None = None, clock: Clock | None = None, **more: Any
) -> AsyncIterator[Running]:
    clock, lookups = clock or Clock(), FakeLookups()
    held = more.pop("held", False)
    # Where the machine is, its full hours need not be those of `NOON`.
    named = replace(ONE_AGENT, budget=Budget(zone=ZoneInfo("UTC")))
    async with running_work(
        store=store, chat=in_chat or chat(), held=True, named=named, lookups=lookups, **more
    ) as work:
        work.dispatcher.schedules.now = clock
        if not held:
            work.dispatcher.release()
        yield Running(work, clock, lookups)


# --- as it should be -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_schedule_asks_its_prompt_at_each_time_in_its_thread_and_its_authors_name() -> None:
    """A5, Q6: a background prompt by whoever made it, each time with their rights of then."""
    seen = []
    async with scheduling() as running:
        running.work.dispatcher.deliveries.listeners.append(lambda inbound, _outcome: seen.append(inbound))
        running.lookups.people[ALICE.id] = now = replace(ALICE, roles=frozenset({5}), approver=True)
        running.add(prompt="look at the mail")
        await running.until(TEN - 1)
        assert running.prompted == []
        await running.until(TEN + 20)
        assert running.prompted == ["look at the mail"]
        await running.until(2 * TEN + 20)
    assert running.prompted == ["look at the mail"] * 2
    assert running.asked() == [f"⏰ Scheduled for <t:{NOON + times * TEN}:f> by `alice`" for times in (1, 2)]
    first, second = seen
    assert first.message_id != second.message_id
    assert {first.author, second.author} == {now}
    assert (first.lane, first.on_behalf, first.automatic, first.mode) == (
        Lane.BACKGROUND, True, False, QueueMode.QUEUE,
    )  # fmt: skip
    assert first.thread == PLACE


@in_virtual_time
async def test_a_prompt_too_long_for_a_message_is_in_a_file_and_reaches_the_agent_whole() -> None:
    """A5: nothing is cut without saying so."""
    prompt = "word " * 399 + "end"
    async with scheduling() as running:
        running.add(prompt=prompt)
        await running.until(TEN + 20)
        (sent,) = [call for call in running.work.chat.threads[100].of("send") if call.body.text.startswith("⏰")]
    assert running.prompted == [prompt]
    assert "-# The whole prompt is in the file." in sent.body.text
    assert sent.body.file is not None
    assert sent.body.file.data.decode() == prompt
    assert sent.body.ping is None


@in_virtual_time
async def test_in_direct_messages_there_is_no_server_and_no_channel() -> None:
    """A5"""
    seen = []
    async with scheduling() as running:
        running.work.dispatcher.deliveries.listeners.append(lambda inbound, _outcome: seen.append(inbound))
        assert running.schedules.make(ThreadPlace(None, 100, None), ALICE, OFTEN, "look").accepted
        await running.until(TEN + 20)
    assert [one.thread for one in seen] == [ThreadPlace(None, 100, None)]


@in_virtual_time
async def test_schedules_that_are_due_at_once_in_one_thread_run_one_behind_the_other() -> None:
    """A5, Q1: they are not in each other's way."""
    async with scheduling() as running:
        running.add(prompt="one")
        running.add(prompt="two", by=BOB)
        await running.until(TEN + 60)
    assert running.prompted == ["one", "two"]
    assert not running.told("Skipped")


# --- a busy thread ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_busy_thread_is_told_in_one_line_that_a_schedule_was_skipped() -> None:
    """A5, G20: no ping, and not a line for each time while it goes on."""
    async with scheduling() as running:
        running.add(prompt="look")
        await running.until(TEN - 5)
        running.work.post(snowflake_at(running.clock()), "hang")
        await running.until(TEN + 30)
        (line,) = running.told("Skipped")
        assert line == f"-# ⏭️ Skipped, because this thread was busy: `look`. Next: {_day(2)}."
        await running.until(2 * TEN + 30)
        (line,) = running.told("Skipped")
        assert line == f"-# ⏭️ Skipped 2 times, because this thread was busy: `look`. Next: {_day(3)}."
        running.work.dispatcher.controls.stop(100, ALICE)
        await running.until(3 * TEN + 30)
    assert running.prompted == ["hang", "look"]
    assert not any(call.body.ping for call in running.work.chat.threads[100].of("send") if "Skipped" in call.body.text)


def _day(times: int) -> str:
    return told(NOON + times * TEN, "UTC", NOON)


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "runs", "line"),
    [
        (0.0, 1, ""),
        (DAY + 120.0, 1, "\n-# 145 runs were due while I was away; this one stands for all of them."),
        (400 * DAY + 120.0, 1, "\n-# 200 or more runs were due while I was away; this one stands for all of them."),
    ],
)
def test_a_clock_that_is_set_forward_lets_it_run_once(ahead: float, runs: int, line: str) -> None:
    """A5: as after a sleep of the machine; then it goes on by the new clock."""

    @in_virtual_time
    async def play() -> None:
        async with scheduling() as running:
            running.add()
            await running.until(TEN - 60)
            running.clock.ahead += ahead
            await anyio.sleep(120)
            assert len(running.prompted) == runs
            (asked,) = running.asked()
            assert asked.endswith(f" by `alice`{line}")
            (row,) = running.rows
            assert running.clock() < row.due_at <= running.clock() + TEN
            last = row.due_at - TEN
            assert asked.startswith(f"⏰ Scheduled for <t:{last}:f>")

    play()


@in_virtual_time
async def test_a_clock_that_is_set_back_lets_nothing_run_twice() -> None:
    """A5: what has run is not due again, however often the clock passes it."""
    async with scheduling() as running:
        running.add()
        await running.until(TEN + 60)
        assert len(running.prompted) == 1
        running.clock.ahead -= TEN + 30
        await anyio.sleep(TEN + 20)
        assert len(running.prompted) == 1
        await anyio.sleep(TEN)
    assert len(running.prompted) == 2


@in_virtual_time
async def test_after_a_clock_that_was_wrong_by_a_year_a_schedule_is_not_silent_for_a_year() -> None:
    """A5"""
    async with scheduling() as running:
        running.clock.ahead += 365 * DAY
        running.add()
        await anyio.sleep(TEN + 60)
        assert len(running.prompted) == 1
        running.clock.ahead -= 365 * DAY
        await anyio.sleep(TEN + 60)
    assert len(running.prompted) == 2


@pytest.mark.parametrize("restarted", [False, True])
def test_a_schedule_made_by_a_clock_that_was_ahead_goes_by_the_right_one(restarted: bool) -> None:
    """A5: it had not fired yet, so nothing but its making says that the clock was wrong."""

    @in_virtual_time
    async def play() -> None:
        store, clock = kept(), Clock(ahead=365 * DAY)
        async with scheduling(store, clock=clock) as running:
            running.add()
            if not restarted:
                clock.ahead = 0
                await anyio.sleep(2 * TEN + 60)
                assert len(running.prompted) == 2
        if restarted:
            clock.ahead = 0
            async with scheduling(store, chat(), clock=clock) as again:
                await anyio.sleep(2 * TEN + 60)
            assert len(again.prompted) == 2

    play()


@in_virtual_time
async def test_a_clock_that_starts_in_1970_lets_nothing_run_that_was_not_due() -> None:
    """A5: as on machines that keep no time while they are off, until the network tells it."""
    store, in_chat, clock = kept(), chat(), Clock()
    async with scheduling(store, in_chat, clock) as running:
        running.add("0 0 1 1 *", prompt="yearly")
        running.add(prompt="often")
        await running.until(TEN + 20)
        assert running.prompted == ["often"]
    clock.ahead -= NOON - 60
    async with scheduling(store, in_chat, clock) as again:
        await anyio.sleep(30)
        clock.ahead += NOON - 60
        await anyio.sleep(60)
        assert again.prompted == []
        await again.until(2 * TEN + 20)
        assert again.prompted == ["often"]
        assert all(row.due_at > clock() for row in again.rows)


@in_virtual_time
async def test_many_threads_that_are_due_at_once_begin_in_small_groups() -> None:
    """A5: the loop is not held up by a thousand of them, and none of them is late for that."""
    threads = {number: FakeThread() for number in range(100, 100 + 3 * AT_ONCE)}
    async with scheduling(in_chat=FakeChat(threads=threads)) as running:
        people = [Actor(1000 + number, f"p{number}") for number in range(len(threads))]
        for thread_id, person in zip(threads, people, strict=True):
            running.lookups.people[person.id] = person
            running.add("@hourly", thread_id=thread_id, by=person)
        begun = []

        def now() -> float:
            begun.append(sum(row.fired_at > 0 for row in running.rows))
            return running.clock()

        await running.until(3600 - 20)
        running.schedules.now = now
        await running.until(3600 + 20)
    assert {earlier - later for later, earlier in itertools.pairwise(begun)} <= {0, AT_ONCE}
    assert all(row.fired_at - 3600 - NOON < 5 for row in running.rows)


@in_virtual_time
async def test_what_is_removed_in_the_moment_it_is_due_is_gone() -> None:
    """A5: its thread may go in the same step."""
    async with scheduling() as running:
        running.add()
        (row,) = running.rows

        def now() -> float:
            at = running.clock()
            if at >= NOON + TEN:
                # After this look, and before anything that it began.
                asyncio.get_running_loop().call_soon(running.schedules.drop, row, "its place is gone")
            return at

        running.schedules.now = now
        with structlog.testing.capture_logs() as logs:
            await running.until(TEN + 60)
    assert running.prompted == []
    assert "step.failed" not in [one["event"] for one in logs]


# --- restarts --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_was_missed_while_weft_was_away_runs_once_at_the_start_and_thread_by_thread() -> None:
    """A5: the last time, saying how many there were, and no burst of all threads at once."""
    store, clock = kept(), Clock()
    async with scheduling(store, clock=clock) as running:
        for thread_id in range(100, 105):
            running.add(thread_id=thread_id, prompt=f"look {thread_id}")
        running.add("30 0 1 1 *", thread_id=105)
    clock.ahead += 3 * TEN + 100
    async with scheduling(store, in_chat := chat(), clock=clock, held=True) as again:
        await anyio.sleep(30)
        assert again.prompted == []  # what people wrote meanwhile comes first
        again.work.dispatcher.release()
        await again.work.until(lambda: len(again.prompted) == 5)
        sent = sorted(in_chat.threads[one].of("send")[0].at for one in range(100, 105))
        assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(sent))
        last = (int(clock()) // TEN) * TEN
        assert again.asked(103) == [
            f"⏰ Scheduled for <t:{last}:f> by `alice`\n"
            "-# 3 runs were due while I was away; this one stands for all of them."
        ]
        await anyio.sleep(300)
        assert len(again.prompted) == 5
        assert again.asked(105) == []
    # Restarted in the very moment, nothing is due again.
    async with scheduling(store, chat(), clock=clock) as once_more:
        await anyio.sleep(60)
        assert once_more.prompted == []


@pytest.mark.parametrize("posted", [False, True], ids=["not posted", "posted"])
def test_a_time_on_its_way_at_a_kill_becomes_one_prompt_in_the_next_run(posted: bool) -> None:
    """A5, R2, M2: whether or not the message was posted before the kill; an agent's schedule stays one."""

    @in_virtual_time
    async def play() -> None:
        store, in_chat, clock = kept(), chat(), Clock()
        async with scheduling(store, in_chat, clock) as running:
            running.add(by_agent=posted)
            (row,) = running.rows
        firing = Firing(NOON + TEN, 1, NOON + TEN)
        clock.ahead += TEN
        ahead = replace(row, due_at=NOON + 2 * TEN, fired_at=NOON + TEN)
        await store.keep_schedule(fired(ahead, firing))
        if posted:
            await in_chat.thread(100).send(firing.body(row, row.prompt), nonce="long ago")
        async with scheduling(store, in_chat, clock) as again:
            await anyio.sleep(60)
            assert again.prompted == ["look"]
            whose = "by an agent for `alice`" if posted else "by `alice`"
            assert again.asked() == [f"⏰ Scheduled for <t:{NOON + TEN}:f> {whose}"]
            assert [(firing_of(one), is_by_agent(one)) for one in again.rows] == [(None, posted)]
            await again.until(2 * TEN + 30)
            assert again.prompted == ["look"] * 2
        assert await store.schedules() == again.rows

    play()


@in_virtual_time
async def test_a_damaged_row_keeps_no_bot_from_starting() -> None:
    """A5, R4"""
    store, clock = kept(), Clock()
    async with scheduling(store, clock=clock) as running:
        running.add()
        running.add(prompt="well")
        damaged, _ = running.rows
    await store.keep_schedule(replace(damaged, payload='{"due": 1}', zone="Mars/Olympus"))
    clock.ahead += 2 * TEN
    with structlog.testing.capture_logs() as logs:
        async with scheduling(store, chat(), clock=clock) as again:
            await anyio.sleep(60)
            assert again.prompted == ["well"]
            assert again.schedules.rows[damaged.schedule_id].paused == "I can no longer read its times or its time zone"
            assert again.told("paused: I can no longer read its times or its time zone: `look`")
    assert [one["event"] for one in logs].count("schedule.damaged") == 1


@in_virtual_time
async def test_what_is_beyond_a_budget_is_refused_with_the_way_out_and_comes_again_at_its_next_time() -> None:
    """A5, A4"""
    async with scheduling() as running:
        budgets = running.work.dispatcher.budgets
        budgets.budget, budgets.now = Budget({Scope.DAY: Limit(tokens=1)}), running.clock
        budgets._spending.add(spent(day=budgets.budget.day(NOON)), Amount(tokens=1))
        running.add()
        await running.until(TEN + 60)
        assert running.prompted == []
        assert [outcome for _, outcome in running.work.outcomes] == [Outcome.OVER_BUDGET]
        budgets.budget = Budget()
        await running.until(2 * TEN + 60)
        assert running.prompted == ["look"]


# --- what gets in its way --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_who_may_no_longer_use_weft_has_their_schedules_paused_with_a_line() -> None:
    """A5, D2"""
    async with scheduling() as running:
        running.lookups.people[ALICE.id] = None
        running.add()
        await running.until(2 * TEN + 30)
        (row,) = running.rows
    assert running.prompted == []
    why = "its author may no longer use Weft here, or has left"
    assert (row.paused, row.due_at) == (why, 0)
    assert running.work.chat.texts(100) == [f"-# ⏸️ Schedule of `alice` paused: {why}: `look`."]


@in_virtual_time
async def test_while_discord_does_not_say_who_may_nothing_is_decided() -> None:
    """A5: it is asked again, and runs then."""
    async with scheduling() as running:
        running.lookups.people[ALICE.id] = Unavailable("no connection")
        running.add()
        await running.until(TEN + 300)
        assert (running.prompted, running.rows[0].paused) == ([], "")
        running.lookups.people[ALICE.id] = ALICE
        await running.until(TEN + 330)
        assert running.prompted == ["look"]


@pytest.mark.parametrize(
    ("error", "left"), [(ThreadGone("locked"), "paused"), (ThreadDeleted("unknown channel"), "gone")]
)
def test_a_thread_that_takes_no_message_pauses_the_schedule_and_one_that_is_gone_ends_it(
    error: Exception, left: str
) -> None:
    """A5, D10: the channel is told of a thread that is locked."""

    @dataclass
    class Channels(FakeChannels):
        async def header(self, thread_id: int) -> ThreadHeader:
            if isinstance(error, ThreadDeleted):
                raise error
            return await FakeChannels.header(self, thread_id)

    @in_virtual_time
    async def play() -> None:
        in_chat = chat()
        in_chat.channels = Channels()
        async with scheduling(in_chat=in_chat) as running:
            running.add()
            in_chat.threads[100].fail["send"] = [error] * 9
            await running.until(TEN + 60)
            assert running.prompted == []
            if left == "gone":
                assert running.rows == []
                assert await running.work.store.schedules() == []
                return
            (row,) = running.rows
            assert row.paused == "the thread is locked, or I can't write in it"
            assert running.work.chat.texts(7) == [f"-# ⏸️ A schedule of `alice` in <#100> is paused: {row.paused}."]

    play()


@pytest.mark.parametrize("place", [100, 7, 1], ids=["thread", "channel", "server"])
def test_the_schedules_of_a_place_that_is_gone_are_removed(place: int) -> None:
    """A5, D10"""

    @in_virtual_time
    async def play() -> None:
        async with scheduling() as running:
            running.add()
            assert running.schedules.make(ThreadPlace(2, 900, 70), ALICE, OFTEN, "elsewhere").accepted
            running.work.dispatcher.forget(place)
            await anyio.sleep(1)
            assert [row.prompt for row in running.rows] == ["elsewhere"]
            assert await running.work.store.schedules() == running.rows

    play()


@in_virtual_time
async def test_a_schedule_counts_among_the_messages_of_its_author() -> None:
    """A5, O1: nobody sends more by schedules than they may by hand."""
    outcomes: list[tuple[int, Outcome]] = []
    limits = replace(LIMITS, user_messages=1, user_window=4 * TEN)
    async with scheduling(limits=limits) as running:
        for thread in running.work.chat.threads.values():
            thread._ids = itertools.count(snowflake_at(NOON + TEN))
        running.add()
        await running.until(2 * TEN + 60)
        outcomes = running.work.outcomes
    assert [outcome for _, outcome in outcomes] == [Outcome.ANSWERED, Outcome.DROPPED]
    assert running.prompted == ["look"]


@in_virtual_time
async def test_what_is_removed_or_paused_does_not_run_and_what_is_resumed_runs_from_then_on() -> None:
    """A5"""
    async with scheduling() as running:
        running.add(prompt="removed")
        running.add(prompt="paused")
        removed, paused = running.rows
        assert running.schedules.remove(removed.schedule_id, ALICE, 1).text == "Removed."
        assert running.schedules.pause(paused.schedule_id, ALICE, 1).text == "Paused."
        await running.until(3 * TEN + 60)
        assert running.prompted == []
        assert running.schedules.resume(paused.schedule_id, ALICE, 1).accepted
        await running.until(4 * TEN - 60)
        assert running.prompted == []
        await running.until(4 * TEN + 60)
        assert running.prompted == ["paused"]
        assert await running.work.store.schedules() == running.rows


@in_virtual_time
async def test_a_look_that_fails_is_logged_and_the_next_one_goes_on() -> None:
    """A5, O4: the work of all threads is in one task group with it."""
    async with scheduling() as running:
        running.add()
        await running.until(TEN - 20)
        failing = iter([OverflowError("the year 10000")])

        def now() -> float:
            for error in failing:
                raise error
            return running.clock()

        running.schedules.now = now
        with structlog.testing.capture_logs() as logs:
            await running.until(TEN + 60)
        assert [one["event"] for one in logs].count("schedules.failed") == 1
        assert running.prompted == ["look"]


@in_virtual_time
async def test_no_clock_is_looked_at_where_nothing_is_scheduled() -> None:
    """A5: nobody pays for what they do not use."""
    looks: list[float] = []
    async with scheduling() as running:
        await anyio.sleep(1)

        def noted() -> float:
            looks.append(running.clock())
            return looks[-1]

        running.schedules.now = noted
        await anyio.sleep(TEN)
        assert looks == []


# --- making them -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_person_has_at_most_twenty_wherever_they_are_and_paused_ones_count() -> None:
    """A5"""
    async with scheduling() as running:
        for number in range(MOST):
            running.add(thread_id=100 + number % 5)
        running.schedules.pause(running.rows[0].schedule_id, ALICE, 1)
        answer = running.schedules.make(PLACE, ALICE, OFTEN, "one more")
        assert (answer.accepted, answer.text) == (
            False, "You have 20 schedules already. Remove one in `/schedules` first.",
        )  # fmt: skip
        running.add(by=BOB)
        running.schedules.remove(running.rows[0].schedule_id, ALICE, 1)
        running.add()
        assert len({row.schedule_id for row in running.rows}) == MOST + 1


@pytest.mark.parametrize(
    ("when", "prompt", "said"),
    [
        (OFTEN, "  ", "The prompt is empty"),
        (OFTEN, "x" * 2001, "up to 2,000 characters"),
        ("* * * * *", "look", "too often"),
    ],
)
def test_what_can_not_be_scheduled_is_refused(when: str, prompt: str, said: str) -> None:
    """A5: the same for the command and for the tool of agents."""

    @in_virtual_time
    async def play() -> None:
        async with scheduling() as running:
            answer = await running.schedules.add(PLACE, ALICE, when, prompt)
            assert not answer.accepted
            assert said in answer.text
            assert running.rows == []

    play()


@in_virtual_time
async def test_what_is_promised_is_written_down_and_names_the_zone_and_the_next_time() -> None:
    """A5"""
    async with scheduling() as running:
        running.schedules.zones.choose(PLACE, "Asia/Tokyo")
        answer = await running.schedules.add(PLACE, ALICE, " 0  9 * * 1 ", "look")
        (row,) = await running.work.store.schedules()
        due = Timetable("0 9 * * 1", "Asia/Tokyo").after(NOON)
        assert answer.text.startswith("⏰ Scheduled: `0 9 * * 1`, `Asia/Tokyo` time. Next: Mon")
        assert f"09:00 (<t:{due}:R>)" in answer.text
        assert (row.cron, row.zone, row.due_at, row.channel_id) == ("0 9 * * 1", "Asia/Tokyo", due, 7)
        # Who chooses another zone for the server changes nothing that is there.
        running.schedules.zones.choose(PLACE, "Europe/Berlin")
        assert running.rows == [row]


@pytest.mark.parametrize(
    ("by", "guild_id", "may"),
    [
        (ALICE, 1, True),
        (ALICE, None, True),
        (BOB, 1, False),
        (replace(BOB, approver=True), 1, True),
        (replace(BOB, approver=True), 2, False),
        (replace(BOB, approver=True), None, False),
        (replace(BOB, owner=True), 2, True),
    ],
)
def test_who_made_it_approvers_of_its_server_and_owners_may_change_a_schedule(
    by: Actor, guild_id: int | None, may: bool
) -> None:
    """A5, C1"""

    @in_virtual_time
    async def play() -> None:
        async with scheduling() as running:
            running.add()
            (row,) = running.rows
            schedules = running.schedules
            for act in (schedules.pause, schedules.resume, schedules.remove):
                assert act(row.schedule_id, by, guild_id).accepted is may
            assert bool(running.rows) is not may
            if not may:
                assert running.rows == [row]
            shown = schedules.listed(by, guild_id, None)
            assert shown == ([row] if not may and by.id == ALICE.id else [row] if not may and by.owner else [])

    play()
