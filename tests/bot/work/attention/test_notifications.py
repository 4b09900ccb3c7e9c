"""Who is pinged when, by their own choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import anyio
import pytest

from acp.snapshot import BY_AGENT, Ending, TurnSnapshot
from bot.model import Actor, Lane, Outcome, QueueMode
from bot.work.attention.notifications import LONG_TURN, MOST_PEOPLE, Notifications, Notify
from bot.work.ending import TurnEnd
from bot.work.serialization import accepted_prompt
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import ONE_AGENT, FakeChat, NotedStore, PlayedSession, kept, running_work
from tests.bot.work.samples import ALICE, BOB, PLACE, inbound

ALWAYS, NEEDED, NEVER = Notify
MENTION = f"<@{ALICE.id}>"


@asynccontextmanager
async def choosing(store: NotedStore) -> AsyncIterator[Notifications]:
    async with anyio.create_task_group() as tasks:
        settings = ThreadSettings(TaskTracker(tasks), store, ONE_AGENT, QueueMode.QUEUE)
        await settings.load()
        yield Notifications(settings)


def end(outcome: Outcome, by: str = "", *, ran: bool = True) -> TurnEnd:
    return TurnEnd(outcome, by=by, snapshot=TurnSnapshot(ending=Ending.ANSWERED) if ran else None)


@pytest.mark.parametrize(
    ("how", "seconds", "pinged"),
    [
        (end(Outcome.ANSWERED), LONG_TURN - 1, (True, False, False)),
        (end(Outcome.ANSWERED), LONG_TURN, (True, True, False)),
        *(
            (end(one), 1, (True, True, False))
            for one in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.AGENT_DIED, Outcome.AGENT_UNREACHABLE)
        ),
        (end(Outcome.COULD_NOT_START, ran=False), 1, (True, True, False)),
        (end(Outcome.STOPPED, "bob"), LONG_TURN, (True, True, False)),
        (end(Outcome.STOPPED, "alice"), LONG_TURN, (False, False, False)),  # who stops it is there
        (end(Outcome.STOPPED, "bob", ran=False), LONG_TURN, (False, False, False)),
    ],
)
@in_virtual_time
async def test_an_end_pings_as_the_requester_wants_it(
    how: TurnEnd, seconds: float, pinged: tuple[bool, bool, bool]
) -> None:
    """A1, D9"""
    first = inbound(1)
    async with choosing(NotedStore()) as notifications:
        assert notifications.at_end(first, how, seconds) == (ALICE.id if pinged[1] else None), "what nobody has chosen"
        for level, wanted in zip(Notify, pinged, strict=True):
            notifications.choose(level, ALICE, 100, 1)
            assert notifications.at_end(first, how, seconds) == (ALICE.id if wanted else None)
        assert notifications.at_end(replace(first, lane=Lane.BACKGROUND), end(Outcome.FAILED), 999) is None
        posted = replace(first, lane=Lane.BACKGROUND, on_behalf=True)
        notifications.choose(Notify.NEEDED, ALICE, 100, 1)
        assert notifications.at_end(posted, end(Outcome.FAILED), 999) == ALICE.id, "a person reads it"
        agent = Actor(9, BY_AGENT)
        assert notifications.at_end(replace(first, author=agent), end(Outcome.ANSWERED), LONG_TURN) == 9


@in_virtual_time
async def test_each_person_chooses_for_a_thread_or_for_the_server_over_restarts() -> None:
    """A1: the thread's choice goes first, nobody chooses for others, and a place keeps so many."""
    store = kept()
    async with choosing(store) as notifications:
        told = notifications.choose(NEVER, ALICE, None, 1)
        assert (told.accepted, told.lasting) == (True, True)
        assert "not even when an agent waits for your answer. `/inbox` lists what waits" in told.text
        notifications.choose(ALWAYS, ALICE, 200, 1)
        for number in range(MOST_PEOPLE + 5):
            notifications.choose(ALWAYS, Actor(1000 + number, "x"), 300, 1)
    async with choosing(store) as notifications:
        there = replace(PLACE, thread_id=200)
        assert [notifications.level(one.id, PLACE) for one in (ALICE, BOB)] == [NEVER, NEEDED]
        assert [notifications.level(one.id, there) for one in (ALICE, BOB)] == [ALWAYS, NEEDED]
        crowd = replace(PLACE, thread_id=300)
        levels = [notifications.level(1000 + number, crowd) for number in range(MOST_PEOPLE + 5)]
        assert levels == [NEEDED] * 5 + [ALWAYS] * MOST_PEOPLE
    await store.bind(100, options='{"notify": ["odd"]}')
    await store.bind(1, options='{"notify": {"11": "sometimes"}}')
    async with choosing(store) as notifications:
        assert notifications.level(ALICE.id, PLACE) is NEEDED


def work_long(session: PlayedSession) -> None:
    """Say something, and answer three minutes later."""
    session.say("so far")

    async def later() -> None:
        await anyio.sleep(180)
        session.respond()

    cast("Any", session).later = later


@in_virtual_time
async def test_a_long_turn_and_a_failed_one_ping_once_by_a_message_of_their_own() -> None:
    """A1, D9: an edit notifies nobody; quick answers ping nobody."""
    async with running_work(long=work_long) as work:
        work.post(1)
        await work.over(1)
        work.post(2, "login")
        await work.over(2)
        work.post(3, "long")
        await work.prompted("hello", "login", "long")
        await cast("Any", work.agents.sessions[-1]).later()
        await work.over(3)
        sent = [call.body for call in work.chat.threads[100].of("send")]
        pings = [body for body in sent if body.ping is not None]
        assert [body.ping for body in pings] == [ALICE.id, ALICE.id]
        assert pings[0].text.startswith(f"{MENTION}\n⚠️ **Failed:**")
        assert pings[1].text == f"{MENTION}\n-# 3 min 00 s"


def ask_twice(session: PlayedSession) -> None:
    session.ask("first", 1)
    session.ask("second", 2)


@in_virtual_time
async def test_open_requests_of_a_turn_ping_once_and_after_never_not_at_all() -> None:
    """A1, D6"""
    async with running_work(ask=ask_twice) as work:
        for number, level in enumerate((NEEDED, NEVER), 1):
            work.dispatcher.notifications.choose(level, ALICE, 100, 1)
            work.post(number, "ask")
            await work.settled()
            cards = [call.body for call in work.chat.threads[100].of("send") if "🔐" in call.body.text]
            assert [body.ping for body in cards[2 * number - 2 :]] == (
                [ALICE.id, None] if level is NEEDED else [None] * 2
            )
            work.dispatcher.controls.stop(100, ALICE)
            await work.over(number)


@in_virtual_time
async def test_a_turn_that_a_kill_cut_off_pings_whoever_asked() -> None:
    """A1, R2: with the notice that has the button."""
    store, chat = kept(), FakeChat()
    await store.bind(1, options='{"notify": {"12": "never"}}')
    for number, author in ((1, ALICE), (2, BOB)):
        await store.accept(accepted_prompt(inbound(number, thread_id=100 * number, author=author)))
        await store.started(number)
    async with running_work(store=store, chat=chat) as work:
        await work.over(2)
        (told,), (silent,) = ([call.body for call in chat.threads[one].of("send")] for one in (100, 200))
        assert (told.ping, told.text.startswith(f"{MENTION} ⚠️ **Interrupted:**")) == (ALICE.id, True)
        assert (silent.ping, silent.text.startswith("⚠️ **Interrupted:**")) == (None, True)
