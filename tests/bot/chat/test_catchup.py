"""What was posted while nobody listened: a real client, the loopback Discord, restarts and lost connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from bot.chat.authorize import Policy
from bot.reply.port import Body
from bot.sandbox import ChannelType, FakeDiscord, Fault
from bot.sandbox.model import User
from bot.sandbox.people import add_member
from pool.store import SeenPlace
from tests.bot.chat.harness import FakeDispatcher, RunningChat, running_chat
from tests.clock import flying, let_pass
from tests.pool.memory import MemoryStore

pytestmark = pytest.mark.usefixtures("no_pause_before_identify")

HISTORY = r"/messages$"


def texts(dispatcher: FakeDispatcher) -> list[str]:
    return [one.text for one in dispatcher.inbounds]


def asked(fd: FakeDiscord, channel_id: int) -> int:
    """Return how often a channel's history was asked for."""
    return len(fd.rest_calls("GET", f"/channels/{channel_id}/messages"))


async def open_thread(chat: RunningChat, text: str = "start", channel_id: int | None = None) -> int:
    """Let the owner start a thread, with an answer of Weft's in it."""
    said = await chat.fd.owner.say(channel_id or chat.fd.channel_id, text, mention_bot=True)
    await chat.dispatcher.wait(lambda dispatcher: any(one.message_id == said.id for one in dispatcher.inbounds))
    await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[-1])
    await chat.gateway.chat.thread(said.id).send(Body("answer"), nonce=f"n{said.id}")
    await chat.settled(chat.fd.channel_id)
    return said.id


@asynccontextmanager
async def with_thread(**config: object) -> AsyncIterator[tuple[RunningChat, int]]:
    """Yield a chat and a thread that it opened."""
    async with FakeDiscord() as fd, running_chat(fd, Policy(), **config) as chat:  # type: ignore[arg-type]
        await chat.caught_up()
        yield chat, await open_thread(chat)


@pytest.mark.asyncio
async def test_what_was_posted_while_the_bot_was_down_is_handed_over_once_and_in_order() -> None:
    """R2, Q1: messages of known threads, and mentions in channels where one was accepted; nothing else."""
    async with FakeDiscord() as fd:
        store, policy = MemoryStore(), Policy(users=frozenset({fd.user("alice").id}))
        other = fd.add_channel("other")
        async with running_chat(fd, policy, seen=store) as chat:
            thread_id = await open_thread(chat)
        alice = fd.user("alice")
        for number in range(3):
            await fd.owner.say(thread_id, f"step {number}")
            await alice.say(thread_id, f"reply {number}")
        await fd.owner.say(thread_id, "// among us")
        await alice.say(fd.channel_id, "no mention")
        mention = await alice.say(fd.channel_id, "new task", mention_bot=True)
        await alice.say(other, "in a channel without Weft", mention_bot=True)
        async with running_chat(fd, policy, seen=store) as chat:
            await chat.caught_up()
            mine = [one.text for one in chat.dispatcher.inbounds if one.thread_id == thread_id]
            assert mine == ["step 0", "reply 0", "step 1", "reply 1", "step 2", "reply 2"]
            (new,) = [one for one in chat.dispatcher.inbounds if one.thread_id != thread_id]
            assert (new.text, new.opens_thread, new.thread_id) == ("new task", True, mention.id)
            assert (new.guild_id, new.channel_id) == (fd.guild_id, fd.channel_id)
        async with running_chat(fd, policy, seen=store) as chat:
            await chat.caught_up()
            assert chat.dispatcher.inbounds == []
        fd.assert_clean(allow={10003})  # the dispatcher here opens no threads by itself


@pytest.mark.asyncio
async def test_nothing_starts_before_the_end_of_the_catch_up() -> None:
    """Q1: what was missed comes before what is said now, whichever is known first."""
    async with with_thread(hold_limit=1000.0) as (chat, thread_id):
        fd, dispatcher = chat.fd, chat.dispatcher
        del dispatcher.course[:]
        fd.faults.next("GET", HISTORY, Fault.delay(5.0), times=2)
        with fd.gateway.losing():
            await fd.owner.say(thread_id, "missed")
        await fd.gateway.invalidate()
        await dispatcher.wait(lambda dispatcher: "hold" in dispatcher.course)
        await fd.owner.say(thread_id, "live")
        await dispatcher.wait(lambda dispatcher: "live" in dispatcher.course)
        async with flying(1.0):
            await chat.caught_up()
        assert dispatcher.course == ["hold", "live", "missed", "release"]
        assert [one.text for one in dispatcher.started][-2:] == ["missed", "live"]


@pytest.mark.asyncio
async def test_the_work_is_held_no_longer_than_the_limit_and_the_catch_up_goes_on() -> None:
    """Q1: at most 10 s (here 0.1); what comes out of it afterwards is not lost."""
    async with with_thread(hold_limit=0.1) as (chat, thread_id):
        fd, dispatcher = chat.fd, chat.dispatcher
        del dispatcher.course[:]
        fd.faults.next("GET", rf"{thread_id}/messages$", Fault.delay(10.0))
        async with chat.gap():
            await fd.owner.say(thread_id, "missed")
        assert dispatcher.course == ["hold", "release"]
        let_pass(10)
        await dispatcher.wait(lambda dispatcher: "missed" in dispatcher.course)
        assert dispatcher.course == ["hold", "release", "missed"]


@pytest.mark.asyncio
async def test_messages_between_ready_and_on_ready_are_held_in_order() -> None:
    """Q1, O2: discord.py tells of READY up to two seconds after it, with messages in between."""
    async with with_thread(hold_limit=1000.0) as (chat, thread_id):
        fd, dispatcher = chat.fd, chat.dispatcher
        chat.gateway.current()._connection.guild_ready_timeout = 5.0
        del dispatcher.course[:]
        readies = len(chat.readies)
        with fd.gateway.losing():
            await fd.owner.say(thread_id, "one")
        await fd.gateway.invalidate()
        await fd.wait_for(lambda fd: fd.gateway.connected)
        await fd.owner.say(thread_id, "two")
        await dispatcher.wait(lambda dispatcher: "two" in dispatcher.course)
        assert len(chat.readies) == readies
        async with flying(1.0):
            await chat.caught_up()
        assert dispatcher.course == ["hold", "two", "one", "release"]
        assert [one.text for one in dispatcher.started][-2:] == ["one", "two"]


@pytest.mark.asyncio
async def test_a_second_ready_brings_nothing_twice() -> None:
    """R2: by id, whatever comes how often."""
    async with with_thread() as (chat, thread_id):
        async with chat.gap():
            await chat.fd.owner.say(thread_id, "missed")
        async with chat.gap():
            await chat.fd.owner.say(chat.fd.channel_id, "chatter")
        assert texts(chat.dispatcher).count("missed") == 1


@pytest.mark.asyncio
async def test_a_resumed_connection_needs_no_catch_up() -> None:
    """R2, Q1: RESUME replays what was missed; nobody waits and nobody asks."""
    async with with_thread() as (chat, thread_id):
        before, course = asked(chat.fd, thread_id), len(chat.dispatcher.course)
        await chat.fd.gateway.close(4000)
        await chat.fd.owner.say(thread_id, "meanwhile")
        await chat.settled(thread_id)
        assert chat.fd.gateway.resumes == 1
        assert chat.dispatcher.course[course:] == ["meanwhile", "mark"]
        assert asked(chat.fd, thread_id) == before


@pytest.mark.asyncio
async def test_events_lost_with_a_refused_resume_are_looked_up() -> None:
    """R2: Discord may refuse to resume; the events of the gap never come then."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        fd.gateway.refuse_resume = True
        await fd.gateway.close(4000)
        await fd.owner.say(thread_id, "lost one")
        await fd.owner.say(fd.channel_id, "lost two", mention_bot=True)
        await chat.dispatcher.wait(lambda dispatcher: {"lost one", "lost two"} <= set(texts(dispatcher)))
        assert fd.gateway.resumes == 0
        fd.assert_clean(allow={10003})  # the dispatcher here opens no threads by itself


@pytest.mark.asyncio
async def test_what_was_lost_with_a_malformed_ready_is_found_by_the_next_client() -> None:
    """R2, O4: a connection is of no use without its READY."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        await fd.owner.say(thread_id, "before")
        await fd.gateway.dispatch_raw("READY", {})
        for number in range(5):
            await fd.owner.say(thread_id, f"after {number}")
        await chat.dispatcher.wait(lambda dispatcher: "after 4" in texts(dispatcher))
        await chat.caught_up()
        assert [one.text for one in chat.dispatcher.started][-6:] == [
            "before",
            *(f"after {number}" for number in range(5)),
        ]
        assert len(texts(chat.dispatcher)) == len(set(texts(chat.dispatcher)))


@pytest.mark.asyncio
async def test_an_event_that_comes_twice_is_one_prompt_also_in_the_count_of_bots() -> None:
    """R2, D2: five prompts of a bot are five, even if Discord sends each of them twice."""
    async with FakeDiscord() as fd:
        robot = fd.user("robot")
        add_member(fd.state, User(robot.id, "robot", bot=True))
        async with running_chat(fd, Policy(users=frozenset({robot.id}))) as chat:
            thread_id = await open_thread(chat)
            fd.gateway.duplicate_next = 5
            for number in range(5):
                await robot.say(thread_id, f"beep {number}")
            await chat.settled(fd.channel_id)
            assert texts(chat.dispatcher)[1:] == [f"beep {number}" for number in range(5)]


@pytest.mark.asyncio
async def test_a_message_seen_live_and_in_a_catch_up_counts_once_in_the_count_of_bots() -> None:
    """R2, D2: what is read again is neither handed over nor counted again."""
    async with FakeDiscord() as fd:
        robot = fd.user("robot")
        add_member(fd.state, User(robot.id, "robot", bot=True))
        async with running_chat(fd, Policy(users=frozenset({robot.id}))) as chat:
            await chat.caught_up()
            thread_id = await open_thread(chat)
            fd.faults.next("GET", rf"{thread_id}/messages$", Fault.delay(0.2))
            with fd.gateway.losing():
                await robot.say(thread_id, "beep 0")
            await fd.gateway.invalidate()
            await chat.dispatcher.wait(lambda dispatcher: not dispatcher.at_work)
            for number in (1, 2, 3):
                await robot.say(thread_id, f"beep {number}")
            await chat.caught_up()
            await robot.say(thread_id, "beep 4")
            await chat.settled(fd.channel_id)
            assert sorted(texts(chat.dispatcher)[1:]) == [f"beep {number}" for number in range(5)]


@pytest.mark.asyncio
async def test_what_is_too_old_is_told_to_have_been_missed_and_not_run() -> None:
    """R2: nobody is surprised by an agent that starts on yesterday's request."""
    clock = [time.time() - 3600]
    async with FakeDiscord(wall=lambda: clock[0]) as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
        clock[0] = time.time() - 700
        await fd.owner.say(thread_id, "old")
        await fd.owner.say(thread_id, "// old chatter")
        clock[0] = time.time() - 500
        await fd.owner.say(thread_id, "young")
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert [one.text for one in chat.dispatcher.late] == ["old"]
            assert texts(chat.dispatcher) == ["young"]
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert (chat.dispatcher.late, chat.dispatcher.inbounds) == ([], [])


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault.status(403, 50001), Fault.status(400)])
async def test_a_place_that_can_not_be_read_hurts_no_other_and_stays_due(fault: Fault) -> None:
    """O4, R2: it is found at the next start, if it can be read then."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            one, two = await open_thread(chat, "one"), await open_thread(chat, "two")
        mark = {place.place_id: place.seen for place in await store.places()}[one]
        await fd.owner.say(one, "in one")
        await fd.owner.say(two, "in two")
        fd.faults.next("GET", rf"{one}/messages$", fault)
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert texts(chat.dispatcher) == ["in two"]
            await fd.owner.say(one, "live in one")
            await chat.settled(one)
        assert {place.place_id: place.seen for place in await store.places()}[one] == mark
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert texts(chat.dispatcher)[0] == "in one"


@pytest.mark.asyncio
async def test_what_was_deleted_while_nobody_listened_is_forgotten() -> None:
    """D10, R2: a thread, a channel with its threads and a server that Weft is in no more; not what is still to open."""
    async with FakeDiscord() as fd:
        store, here = MemoryStore(), fd.guild_id
        threads = [SeenPlace(one, here, fd.channel_id, 7, seen=one) for one in (1, 2)]
        await store.see([*threads, SeenPlace(3, here, seen=3), SeenPlace(9, 99, 8, 7, seen=9)])
        async with running_chat(fd, Policy(), seen=store, dispatcher=FakeDispatcher(busy=frozenset({2}))) as chat:
            await chat.caught_up()
            assert chat.dispatcher.calls[:2] == [("gone", 9, "Weft was removed from the server"), ("forget", 99, 9)]
            assert sorted(chat.dispatcher.calls[2:]) == [
                ("forget", 1),
                ("forget", 3),
                ("gone", 1, "the thread was deleted"),
            ]


@pytest.mark.asyncio
async def test_a_server_error_is_tried_again() -> None:
    """R2, O4: as every other call."""
    async with with_thread() as (chat, thread_id):
        chat.fd.faults.next("GET", rf"{thread_id}/messages$", Fault.status(503), times=2)
        async with chat.gap():
            await chat.fd.owner.say(thread_id, "missed")
        assert texts(chat.dispatcher)[-1] == "missed"


@pytest.mark.asyncio
async def test_where_nothing_is_new_discord_is_not_asked() -> None:
    """R2: a start with many threads costs no request for each of them."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert asked(fd, thread_id) == asked(fd, fd.channel_id) == 0


@pytest.mark.asyncio
async def test_after_a_restart_a_message_in_an_archived_thread_needs_no_look_up() -> None:
    """D1, R2: what an earlier run knew of its threads is known."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
        await fd.owner.say(thread_id, "and then")
        await fd.archive(thread_id)
        fd.gateway.hold_back = {"THREAD_UPDATE"}
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert texts(chat.dispatcher) == ["and then"]
            await fd.owner.say(thread_id, "still there?")
            assert (await chat.dispatcher.inbound(2)).thread_id == thread_id
            assert fd.rest_calls("GET", f"/channels/{thread_id}") == fd.rest_calls("GET", f"/{thread_id}/messages")


@pytest.mark.asyncio
async def test_a_thread_opened_just_before_a_crash_is_read_too() -> None:
    """R2: it is in no list yet, but its first message tells of it."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            await open_thread(chat)
        before = await store.places()
        async with running_chat(fd, Policy()) as chat:
            thread_id = await open_thread(chat, "and another")
        await fd.owner.say(thread_id, "go on")
        again = MemoryStore()
        await again.see(before)
        async with running_chat(fd, Policy(), seen=again) as chat:
            await chat.caught_up()
            assert [one.text for one in chat.dispatcher.inbounds if one.thread_id == thread_id] == [
                "and another",
                "go on",
            ]


@pytest.mark.asyncio
async def test_a_prompt_that_was_not_written_is_found_again_after_a_crash() -> None:
    """R2, O2: what is kept never passes it, however the run ends."""
    async with FakeDiscord() as fd:
        store, dispatcher = MemoryStore(), FakeDispatcher()
        async with running_chat(fd, Policy(), seen=store, dispatcher=dispatcher) as chat:
            thread_id = await open_thread(chat)
            said = await fd.owner.say(thread_id, "not written")
            dispatcher.unwritten = frozenset({said.id})
            await chat.settled(fd.channel_id)
            await fd.owner.say(thread_id, "// chatter")
            await chat.settled(thread_id)
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert next(one.text for one in chat.dispatcher.inbounds if one.thread_id == thread_id) == "not written"


@pytest.mark.asyncio
async def test_how_far_was_read_is_written_while_the_bot_runs() -> None:
    """R2: a bot that is killed has lost a few seconds of it."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store, seen_interval=0.02) as chat:
            thread_id = await open_thread(chat)
            said = await fd.owner.say(thread_id, "step")
            with anyio.fail_after(30):
                while said.id not in {place.seen for place in await store.places()}:
                    await anyio.lowlevel.checkpoint()
            place = {one.place_id: one for one in await store.places()}[thread_id]
            assert (place.guild_id, place.parent_id, place.owner_id) == (fd.guild_id, fd.channel_id, fd.bot_user.id)


@pytest.mark.asyncio
async def test_in_twenty_reconnections_each_message_comes_once_and_in_order() -> None:
    """R2, Q1, O2: some are lost, some live, some come before the catch-up, which is replaced now and then."""
    async with with_thread() as (chat, thread_id):
        fd, dispatcher = chat.fd, chat.dispatcher
        said: list[str] = []

        async def say(kind: str) -> None:
            said.append(f"{kind} {len(said)}")
            await fd.owner.say(thread_id, said[-1])

        for number in range(20):
            with fd.gateway.losing():
                await say("lost")
            identifies = fd.gateway.identifies
            await fd.gateway.invalidate()
            await say("unheard")
            await fd.wait_for(lambda fd, before=identifies: fd.gateway.identifies > before)  # type: ignore[misc]
            await say("early")
            if number % 3 == 0:
                await chat.caught_up()
                await say("live")
        await dispatcher.wait(lambda dispatcher: len({one.message_id for one in dispatcher.started}) == len(said) + 1)
        assert [one.text for one in dispatcher.started][1:] == said
        assert sorted(texts(dispatcher)[1:]) == sorted(said)
        fd.assert_clean(allow={10003})  # the dispatcher here opens no threads by itself


@pytest.mark.asyncio
async def test_a_bot_told_to_close_during_a_catch_up_is_not_kept_waiting_for_long() -> None:
    """R1: what is only read holds up the end for two seconds at most."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
        await fd.owner.say(thread_id, "missed")
        fd.faults.next("GET", HISTORY, Fault.delay(3600.0), times=10)
        with anyio.fail_after(30):
            async with running_chat(fd, Policy(), seen=store):
                while fd.faults.pending == 10:
                    await anyio.lowlevel.checkpoint()


@pytest.mark.asyncio
async def test_a_message_that_bears_the_sign_of_acceptance_is_not_run_again_by_a_state_that_forgot_it() -> None:
    """R2, R6: a disk that was full until the restart knows neither the message nor that its prompt was started."""
    async with FakeDiscord() as fd:
        store, forgetful = MemoryStore(), MemoryStore()
        async with running_chat(fd, seen=store) as chat:
            first = await fd.owner.say(fd.channel_id, "first", mention_bot=True)
            await chat.dispatcher.inbound()
            await chat.settled(fd.channel_id)
        await forgetful.see(await store.places())
        done = await fd.owner.say(fd.channel_id, "done already", mention_bot=True)
        async with running_chat(fd, seen=store) as chat:
            await chat.dispatcher.inbound()
            await chat.gateway.chat.acknowledge(chat.dispatcher.inbounds[0], "👀")
        await fd.owner.say(fd.channel_id, "new", mention_bot=True)
        async with running_chat(fd, seen=forgetful) as chat:
            await chat.caught_up()
            assert [one.text for one in chat.dispatcher.inbounds] == ["new"]
            assert [one.message_id for one in chat.dispatcher.late] == [done.id]
            assert first.id not in {one.message_id for one in chat.dispatcher.late}


@pytest.mark.asyncio
async def test_posts_of_forums_that_were_opened_in_a_gap_are_found_if_they_are_for_weft() -> None:
    """S6, R2: with a mention, or in a forum of Weft's; what people open among themselves is forgotten again."""
    async with FakeDiscord() as fd:
        ideas, asks = (fd.add_channel(name, ChannelType.FORUM) for name in ("ideas", "asks"))
        before = await fd.start_post(fd.owner, asks, "Before", "nobody heard this")
        store = MemoryStore()
        async with running_chat(fd, Policy(forums=frozenset({asks})), seen=store) as chat:
            await chat.caught_up()
            # Weft was never there, and the post is a moment old.
            assert [one.message_id for one in chat.dispatcher.inbounds] == [before.id]
            live = await fd.start_post(fd.owner, asks, "Live", "heard")
            await chat.dispatcher.inbound(2)
            assert chat.dispatcher.outside.posts == {before.id, live.id}
        mention = f"<@{fd.bot_user.id}>"
        lost = [
            await fd.start_post(fd.owner, asks, "Ask", "how?"),
            await fd.start_post(fd.owner, ideas, "Idea", f"{mention} what if?"),
            await fd.start_post(fd.owner, ideas, "Talk", "just us"),
        ]
        again = await fd.owner.say(lost[0].id, "and why?")
        async with running_chat(fd, Policy(forums=frozenset({asks})), seen=store) as chat:
            await chat.caught_up()
            found = [one.message_id for one in chat.dispatcher.inbounds]
            assert sorted(found) == [lost[0].id, lost[1].id, again.id]
            assert chat.dispatcher.outside.posts == {one.id for one in lost[:2]}
            assert asked(fd, before.id) == 1
            assert lost[2].id not in {place.channel_id for place in chat.gateway._state.marks.places()}
