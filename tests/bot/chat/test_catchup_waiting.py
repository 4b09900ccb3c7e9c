"""What became of waiting messages while nobody listened: a real client, the loopback Discord, restarts and gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from bot.chat.authorize import Policy
from bot.chat.catchup import MOST_WAITING, Roles, review_waiting
from bot.chat.inbound import Place, Post, Wordings
from bot.chat.port import DiscordChat
from bot.model import Actor
from bot.reply.port import MessageGone, ThreadGone, Unavailable
from bot.sandbox import FakeDiscord, Fault
from tests.bot.chat.harness import FakeDispatcher, RunningChat, running_chat
from tests.pool.memory import MemoryStore

from .test_catchup_limits import FakeClient

pytestmark = pytest.mark.usefixtures("no_pause_before_identify")


async def open_thread(chat: RunningChat) -> int:
    said = await chat.fd.owner.say(chat.fd.channel_id, "start", mention_bot=True)
    await chat.dispatcher.wait(lambda dispatcher: dispatcher.inbounds)
    await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
    await chat.settled(chat.fd.channel_id)
    return said.id


@asynccontextmanager
async def restarted(fd: FakeDiscord, store: MemoryStore, **queued: list[int]) -> AsyncIterator[FakeDispatcher]:
    """Yield the dispatcher of a next run on which messages wait, once it was caught up."""
    dispatcher = FakeDispatcher(queued={int(place[1:]): waiting for place, waiting in queued.items()})
    async with running_chat(fd, Policy(), seen=store, dispatcher=dispatcher) as chat:
        await chat.caught_up()
        yield dispatcher


@pytest.mark.asyncio
async def test_what_was_edited_and_deleted_while_the_bot_was_away_reaches_the_work_before_it_starts() -> None:
    """Q5, R2: with the text that an event would have brought, and nothing for what stayed as it was."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
            said = [(await fd.owner.say(thread_id, text)).id for text in ("same", "old", "gone", "aside")]
            await chat.settled(thread_id)
        await fd.owner.edit(said[1], f"!queue <@{fd.bot_user.id}> new")
        await fd.owner.delete(said[2])
        await fd.owner.edit(said[3], "// among us")
        async with restarted(fd, store, **{f"t{thread_id}": said}) as dispatcher:
            assert sorted(dispatcher.revisions) == [
                ("deleted", said[2]),
                ("deleted", said[3]),
                ("edited", said[1], "new"),
            ]
            assert dispatcher.course[-1] == "release"
        fd.assert_clean(allow={10003, 10008})  # the dispatcher here opens no threads by itself


@pytest.mark.asyncio
async def test_what_was_edited_and_deleted_in_a_gap_reaches_the_work_once() -> None:
    """Q5, R2: what was heard before the gap is no news after it."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        thread_id = await open_thread(chat)
        said = [(await fd.owner.say(thread_id, text)).id for text in ("one", "two", "three")]
        await fd.owner.edit(said[0], "one, better")
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.revisions)
        chat.dispatcher.queued = {thread_id: said}
        async with chat.gap():
            await fd.owner.edit(said[1], "two, better")
            await fd.owner.delete(said[2])
        assert sorted(chat.dispatcher.revisions[1:]) == [("deleted", said[2]), ("edited", said[1], "two, better")]


@pytest.mark.asyncio
async def test_a_message_that_can_not_be_looked_up_stays_as_it_was_accepted() -> None:
    """R2, O1: only what Discord says to be gone is taken out."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
            said = [(await fd.owner.say(thread_id, text)).id for text in ("one", "two")]
            await chat.settled(thread_id)
        for one in said:
            await fd.owner.edit(one, "better")
        fd.faults.next("GET", rf"/messages/{said[0]}$", Fault.status(403, 50001))
        async with restarted(fd, store, **{f"t{thread_id}": said}) as dispatcher:
            assert dispatcher.revisions == [("edited", said[1], "better")]


@pytest.mark.asyncio
async def test_the_edit_of_somebody_who_is_let_in_by_a_role_counts() -> None:
    """D2, Q5: a message that is looked up does not tell its author's roles."""
    async with FakeDiscord() as fd:
        role, store = fd.add_role("devs"), MemoryStore()
        policy = Policy(roles=frozenset({role}))
        bea = fd.user("bea", roles=[role])
        async with running_chat(fd, policy, seen=store) as chat:
            thread_id = await open_thread(chat)
            said = (await bea.say(thread_id, "old")).id
            await chat.settled(thread_id)
        await bea.edit(said, "new")
        dispatcher = FakeDispatcher(queued={thread_id: [said]})
        async with running_chat(fd, policy, seen=store, dispatcher=dispatcher) as chat:
            await chat.caught_up()
            assert dispatcher.revisions == [("edited", said, "new")]


@pytest.mark.asyncio
async def test_the_roles_that_authors_have_now_reach_the_work_before_anything_starts() -> None:
    """D2, R2: where a role may decide; of somebody who can't be looked up just now, what was accepted holds."""
    async with FakeDiscord() as fd:
        role = fd.add_role("devs")
        bea, cem = fd.user("bea", roles=[role]), fd.user("cem", roles=[role])
        policy = Policy(roles=frozenset({role}), users=frozenset({fd.user("ann").id}))
        writers = frozenset((fd.guild_id, who.id) for who in (bea, cem, fd.user("ann"), fd.owner))
        fd.faults.next("GET", f"/members/{cem.id}", Fault.rate_limited(1, via=False))
        async with running_chat(fd, policy, dispatcher=FakeDispatcher(writers=writers)) as chat:
            await chat.caught_up()
            assert chat.dispatcher.revisions == [("roles", fd.guild_id, bea.id, {role, fd.guild_id})]
            assert chat.dispatcher.course[-1] == "release"


@dataclass(eq=False)
class Recorder(FakeClient, DiscordChat):
    """A client whose messages say what a test has for them; `heard` is what events tell while one is looked up."""

    errors: dict[int, Exception] = field(default_factory=dict)
    heard: frozenset[int] = frozenset()
    wordings: Wordings = field(default_factory=lambda: Wordings(100))
    policy: Policy = field(default_factory=lambda: Policy(users=frozenset({7})))
    asked: list[int] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)
    unknown: frozenset[int] = frozenset()

    def find_place(self, place_id: int) -> Place | None:
        return None if place_id in self.unknown else Place(1, place_id)

    def revise(self, post: Post) -> None:
        assert post.edited
        self.told.append(("revise", post.message_id))

    def withdraw(self, message_id: int) -> None:
        self.told.append(("withdraw", message_id))

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        raise AssertionError(place, after, limit)

    async def message(self, place: Place, message_id: int) -> Post:
        self.asked.append(message_id)
        if message_id in self.heard:
            self.wordings.note(message_id, "heard meanwhile")
        if message_id in self.errors:
            raise self.errors[message_id]
        return Post(message_id, place, Actor(7, "ann"), "text", edited=True)

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        raise AssertionError(guild_id, user_id)

    async def look(self, queued: dict[int, list[int]]) -> None:
        self.dispatcher.queued = queued
        with anyio.fail_after(30):
            await review_waiting(self, self, self.wordings, Roles(self))


@pytest.mark.asyncio
async def test_of_each_place_the_newest_messages_are_looked_up_and_what_runs_next_comes_first() -> None:
    """Q5, R2: a bot with long queues does not flood Discord at its start."""
    recorder = Recorder(unknown=frozenset({3}))
    await recorder.look({1: list(range(100, 0, -1)), 2: [60], 3: [61]})
    assert sorted(recorder.asked) == sorted([*range(51, 101), 60])
    assert recorder.asked[0] == 51
    assert MOST_WAITING == 50


@pytest.mark.asyncio
async def test_what_is_heard_while_a_message_is_looked_up_is_newer_than_what_is_found() -> None:
    """Q5."""
    recorder = Recorder(heard=frozenset({1}))
    await recorder.look({1: [1, 2]})
    assert recorder.told == [("revise", 2)]


@pytest.mark.asyncio
async def test_only_a_message_that_is_gone_is_withdrawn() -> None:
    """O1, O4: whatever else goes wrong with one hurts neither it nor the others."""
    errors = {1: MessageGone("no"), 2: ThreadGone("no"), 3: Unavailable("no"), 4: KeyError("a shape")}
    recorder = Recorder(errors=errors)
    await recorder.look({1: [1, 2, 3, 4, 5]})
    assert sorted(recorder.told) == [("revise", 5), ("withdraw", 1)]
