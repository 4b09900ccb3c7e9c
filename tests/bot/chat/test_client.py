"""Messages, their edits, and places that are gone, through a real client and the loopback Discord."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from discord import TeamMemberRole, TeamMembershipState

from bot.chat.authorize import Policy, Reason
from bot.chat.client import INTENTS, WeftClient, owners_of
from bot.chat.inbound import HELP, Place
from bot.chat.read_marks import Watermarks
from bot.recent import RecentMap
from bot.reply.port import Body
from bot.sandbox import FakeDiscord, Fault
from bot.sandbox.objects import message_event_json
from tests.bot.chat.harness import FakeDispatcher, RunningChat, in_a_thread, running_chat


@asynccontextmanager
async def connected_client(*users: str) -> AsyncIterator[RunningChat]:
    """Yield a chat that takes requests from the owner and from the users named."""
    async with FakeDiscord() as fd:
        policy = Policy(users=frozenset(fd.user(name).id for name in users))
        async with running_chat(fd, policy) as chat:
            yield chat


@pytest.mark.asyncio
async def test_a_mention_becomes_an_inbound_with_the_thread_to_be() -> None:
    """D1, O2: who, where, what and the thread's id, all known before anything is opened."""
    async with connected_client("alice") as chat:
        devs = chat.fd.add_role("devs")
        alice = chat.fd.user("alice", roles=[devs])
        said = await alice.say(chat.fd.channel_id, "fix the tests", mention_bot=True)
        inbound = await chat.dispatcher.inbound()
        assert inbound.message_id == inbound.thread_id == said.id
        assert inbound.channel_id == chat.fd.channel_id
        assert inbound.guild_id == chat.fd.guild_id
        assert (inbound.text, inbound.title, inbound.opens_thread) == ("fix the tests", "fix the tests", True)
        assert (inbound.author.id, inbound.author.name) == (alice.id, "alice")
        assert devs in inbound.author.roles
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_the_owner_of_the_application_needs_no_list() -> None:
    """D2: the owner is known from the application, with every list empty."""
    async with connected_client() as chat:
        await chat.fd.owner.say(chat.fd.channel_id, "hello", mention_bot=True)
        assert (await chat.dispatcher.inbound()).author.id == chat.fd.owner.id


@pytest.mark.asyncio
async def test_messages_in_wefts_thread_need_no_mention_and_keep_their_order() -> None:
    """D1, Q1: every message in a thread that Weft opened, in the order of arrival."""
    async with connected_client("alice") as chat:
        alice = chat.fd.user("alice")
        await alice.say(chat.fd.channel_id, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
        said = [await alice.say(thread_id, f"step {number}") for number in range(20)]
        await chat.dispatcher.inbound(21)
        followers = chat.dispatcher.inbounds[1:]
        assert [one.message_id for one in followers] == [one.id for one in said]
        assert {(one.thread_id, one.channel_id, one.opens_thread) for one in followers} == {
            (thread_id, thread_id, False)
        }


@pytest.mark.asyncio
async def test_in_somebody_elses_thread_only_mentions_count() -> None:
    """D1: other threads become Weft's for the messages that mention it."""
    async with connected_client("alice") as chat:
        alice = chat.fd.user("alice")
        topic = await alice.say(chat.fd.channel_id, "let us talk")
        thread = await chat.fd.start_thread(alice, topic, "talk")
        await alice.say(thread.id, "among us")
        asked = await alice.say(thread.id, "what do you think?", mention_bot=True)
        inbound = await chat.dispatcher.inbound()
        assert (inbound.message_id, inbound.thread_id, inbound.opens_thread) == (asked.id, thread.id, False)
        assert len(chat.dispatcher.inbounds) == 1


@pytest.mark.asyncio
async def test_a_message_in_a_thread_that_is_in_no_cache_is_not_lost() -> None:
    """D1, O2: archived threads are unknown to the client; its channel is then asked for, once for the thread."""
    async with FakeDiscord() as fd:
        async with running_chat(fd) as before:
            await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            thread_id = (await before.dispatcher.inbound()).thread_id
            await before.gateway.chat.open_thread(before.dispatcher.inbounds[0])
            await fd.archive(thread_id)
        async with running_chat(fd) as after:
            channel = {"guild_id": str(fd.guild_id), "channel_id": str(thread_id)}
            author = {"id": str(fd.owner.id), "username": "owner", "discriminator": "0", "avatar": None}
            for number in range(3):
                data = {**channel, "id": str(thread_id + 1000 + number), "content": f"late {number}", "type": 0}
                data |= {"author": author, "member": {"roles": [], "flags": 0, "joined_at": None}}
                await fd.gateway.dispatch_raw("MESSAGE_CREATE", data | _EMPTY)
            await after.dispatcher.inbound(3)
            assert [one.text for one in after.dispatcher.inbounds] == ["late 0", "late 1", "late 2"]
            assert {one.thread_id for one in after.dispatcher.inbounds} == {thread_id}
            assert len(fd.rest_calls("GET", f"/channels/{thread_id}")) == 1


_EMPTY: dict[str, object] = {
    "mentions": [],
    "mention_roles": [],
    "mention_everyone": False,
    "attachments": [],
    "embeds": [],
    "edited_timestamp": None,
    "pinned": False,
    "tts": False,
    "components": [],
}


@pytest.mark.asyncio
async def test_somebody_not_allowed_gets_one_short_reply_an_hour() -> None:
    """D2, D9: one reply for three mentions; nothing reaches the work; nobody is notified."""
    async with connected_client() as chat:
        mallory = chat.fd.user("mallory")
        first = await mallory.say(chat.fd.channel_id, "one", mention_bot=True)
        for text in ("two", "three"):
            await mallory.say(chat.fd.channel_id, text, mention_bot=True)
        await mallory.say(chat.fd.channel_id, "no mention")
        bob = await chat.fd.user("bob").say(chat.fd.channel_id, "me too", mention_bot=True)
        await chat.fd.wait_message(chat.fd.channel_id, lambda message: message.reference_id == bob.id)
        replies = [one for one in chat.fd.messages(chat.fd.channel_id) if one.author_id == chat.fd.bot_user.id]
        assert [(one.reference_id, one.content) for one in replies] == [
            (first.id, Reason.PERSON),
            (bob.id, Reason.PERSON),
        ]
        assert chat.dispatcher.inbounds == []
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_an_empty_mention_is_answered_with_help() -> None:
    """D1: an empty mention gets a help line where it was posted."""
    async with connected_client("alice") as chat:
        said = await chat.fd.user("alice").say(chat.fd.channel_id, f"<@{chat.fd.bot_user.id}>")
        answer = await chat.fd.wait_message(chat.fd.channel_id, lambda message: message.reference_id == said.id)
        assert answer.content == HELP
        assert chat.dispatcher.inbounds == []
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_wefts_own_messages_start_nothing() -> None:
    """D1: what Weft says in its own thread is no prompt."""
    async with connected_client("alice") as chat:
        await chat.fd.user("alice").say(chat.fd.channel_id, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
        await chat.gateway.chat.answer(thread_id, thread_id + 1, "working on it")
        await chat.settled(thread_id)
        assert len(chat.dispatcher.inbounds) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["deleted", "locked"])
async def test_a_thread_that_is_deleted_or_locked_is_told_as_gone(ending: str) -> None:
    """D10: locked or deleted: the work lets the agent go."""
    async with connected_client("alice") as chat:
        await chat.fd.user("alice").say(chat.fd.channel_id, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
        if ending == "deleted":
            await chat.fd.delete_channel(thread_id)
        else:
            await chat.fd.archive(thread_id, locked=True)
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.calls)
        forgotten = [("forget", thread_id)] if ending == "deleted" else []
        assert chat.dispatcher.calls == [("gone", thread_id, f"the thread was {ending}"), *forgotten]


@pytest.mark.asyncio
async def test_an_archived_thread_is_not_gone() -> None:
    """D10: archived by a person: the turn goes on."""
    async with connected_client("alice") as chat:
        await chat.fd.user("alice").say(chat.fd.channel_id, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
        await chat.fd.archive(thread_id)
        await chat.settled(chat.fd.channel_id)
        assert chat.dispatcher.calls == [("archived", thread_id)], "of which the work makes what it likes (W5)"


@pytest.mark.asyncio
async def test_the_threads_of_a_deleted_channel_are_gone_too() -> None:
    """D10: also the archived ones, which the client has in no cache."""
    async with connected_client("alice") as chat:
        other = chat.fd.add_channel("other")
        await chat.settled(chat.fd.channel_id)
        await chat.fd.user("alice").say(other, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.gateway.chat.open_thread(chat.dispatcher.inbounds[0])
        await chat.fd.archive(thread_id)
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.calls)
        chat.dispatcher.calls.clear()
        await chat.fd.gateway.dispatch_raw("CHANNEL_DELETE", {"id": str(other), "guild_id": str(chat.fd.guild_id)})
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.calls)
        assert chat.dispatcher.calls[0] == ("gone", thread_id, "its channel was deleted")
        assert chat.dispatcher.calls[1] == ("forget", other, thread_id)


@pytest.mark.asyncio
async def test_leaving_a_server_lets_its_threads_go() -> None:
    """D10: kicked in the middle of a turn."""
    async with connected_client("alice") as chat:
        await chat.fd.user("alice").say(chat.fd.channel_id, "start", mention_bot=True)
        thread_id = (await chat.dispatcher.inbound()).thread_id
        await chat.fd.gateway.dispatch_raw("GUILD_DELETE", {"id": str(chat.fd.guild_id)})
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.calls)
        assert chat.dispatcher.calls == [
            ("gone", thread_id, "Weft was removed from the server"),
            ("forget", chat.fd.guild_id, thread_id),
        ]


@pytest.mark.asyncio
async def test_an_outage_of_a_server_is_no_leaving() -> None:
    """D10: it comes back, and its threads with it."""
    async with connected_client("alice") as chat:
        outage = {"id": str(chat.fd.guild_id), "unavailable": True}
        await chat.fd.gateway.dispatch_raw("GUILD_DELETE", outage)
        mark = {"id": "5", "guild_id": str(chat.fd.guild_id), "parent_id": "4", "type": 11}
        await chat.fd.gateway.dispatch_raw("THREAD_DELETE", mark)
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.calls)
        assert chat.dispatcher.calls == [("gone", 5, "the thread was deleted"), ("forget", 5)]


@pytest.mark.asyncio
async def test_an_outage_of_the_server_lets_nothing_go() -> None:
    """D10: unavailable is not removed."""
    async with connected_client("alice") as chat:
        await chat.fd.user("alice").say(chat.fd.channel_id, "start", mention_bot=True)
        await chat.dispatcher.inbound()
        await chat.fd.gateway.dispatch_raw("GUILD_DELETE", {"id": str(chat.fd.guild_id), "unavailable": True})
        await chat.settled(chat.fd.channel_id)
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_only_message_content_is_asked_for_as_a_privileged_intent() -> None:
    """R3: what a bot has to have switched on in the portal is one intent."""
    assert [name for name, on in INTENTS if on] == ["guilds", "guild_messages", "guild_reactions", "message_content"]


def test_the_owners_of_a_teams_application_are_its_members_who_may_change_things() -> None:
    """D2: owner or team of the application; neither who was only invited nor who may only look."""

    def member(id_: int, state: TeamMembershipState, role: TeamMemberRole) -> SimpleNamespace:
        return SimpleNamespace(id=id_, membership_state=state, role=role)

    accepted, invited = TeamMembershipState.accepted, TeamMembershipState.invited
    team = SimpleNamespace(
        owner_id=5,
        members=[
            member(1, accepted, TeamMemberRole.admin),
            member(2, accepted, TeamMemberRole.developer),
            member(3, accepted, TeamMemberRole.read_only),
            member(4, invited, TeamMemberRole.admin),
        ],
    )
    of_team = SimpleNamespace(team=team, owner=SimpleNamespace(id=9))
    of_person = SimpleNamespace(team=None, owner=SimpleNamespace(id=9))
    assert owners_of(of_team) == {1, 2, 5}  # type: ignore[arg-type]
    assert owners_of(of_person) == {9}  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_message_in_an_unknown_thread_survives_an_outage_of_a_moment() -> None:
    """O2, D1: the look at its channel is tried again like every other call."""
    async with FakeDiscord() as fd:
        async with running_chat(fd) as before:
            await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            thread_id = (await before.dispatcher.inbound()).thread_id
            await before.gateway.chat.open_thread(before.dispatcher.inbounds[0])
            await fd.archive(thread_id)
        async with running_chat(fd) as after:
            fd.faults.next("GET", rf"/channels/{thread_id}$", Fault.status(503), times=2)
            author = {"id": str(fd.owner.id), "username": "owner", "discriminator": "0", "avatar": None}
            data = {"guild_id": str(fd.guild_id), "channel_id": str(thread_id), "id": str(thread_id + 1), "type": 0}
            data |= {"content": "go on", "author": author, "member": {"roles": [], "flags": 0, "joined_at": None}}
            await fd.gateway.dispatch_raw("MESSAGE_CREATE", data | _EMPTY)
            assert (await after.dispatcher.inbound()).text == "go on"


@pytest.mark.asyncio
async def test_a_client_that_was_replaced_is_no_source_of_a_catch_up() -> None:
    """R2: discord.py tells of a READY up to two seconds later, whatever became of the client; its cache is of then."""

    class Listening:
        started = 0

        def may_send(self) -> bool:
            return True

        def gateway_opened(self, *, resumed: bool) -> None:
            del resumed
            self.started += 1

        def start(self, source: object) -> None:
            del source
            self.started += 1

        def begin(self, dispatcher: object) -> None:
            del dispatcher
            self.started += 1

    state: Any = Listening()
    state.catch_up, state.observer, state.breaker, state.redactor = state, state, None, None
    client = WeftClient(FakeDispatcher(), Policy(), state, guild_ready_timeout=0.0)
    await client.close()
    await client.on_ready()
    await client.on_connect()
    assert state.started == 0


async def dispatch(chat: RunningChat, name: str, message_id: int, **changes: object) -> None:
    data = message_event_json(chat.fd.state, chat.fd.message(message_id))
    await chat.fd.gateway.dispatch_raw(name, {**data, **changes})


@pytest.mark.asyncio
async def test_the_edit_of_a_message_gives_the_work_its_new_text() -> None:
    """Q5: without the mention and the mode."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "fix the tests")
        await alice.edit(said, f"<@{chat.fd.bot_user.id}> !queue fix the docs")
        await alice.edit(thread_id, "start over")
        await chat.dispatcher.wait(lambda dispatcher: len(dispatcher.revisions) == 2)
        assert chat.dispatcher.revisions == [("edited", said.id, "fix the docs"), ("edited", thread_id, "start over")]
        assert len(chat.dispatcher.inbounds) == 2


@pytest.mark.asyncio
async def test_threads_previews_and_the_same_text_again_are_no_edits() -> None:
    """Q5: Discord tells of them as of edits."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "see https://example.org")
        await chat.fd.unfurl(said.id)
        await alice.edit(said, "see https://example.org")
        await alice.edit(said, f"see https://example.org <@{chat.fd.bot_user.id}>")
        await dispatch(chat, "MESSAGE_UPDATE", thread_id, pinned=True)
        await chat.settled(thread_id)
        assert chat.dispatcher.revisions == []


@pytest.mark.asyncio
async def test_after_a_restart_a_message_that_was_never_edited_is_not_taken_for_edited() -> None:
    """Q5: its text is not known any more; whether it ever was edited is."""
    async with FakeDiscord() as fd:
        async with running_chat(fd) as before:
            said = await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            await before.dispatcher.inbound()
        async with running_chat(fd) as after:
            await fd.unfurl(said.id)
            await fd.owner.edit(said, "start over")
            await after.dispatcher.wait(lambda dispatcher: dispatcher.revisions)
            await after.settled(fd.channel_id)
            assert after.dispatcher.revisions == [("edited", said.id, "start over")]


@pytest.mark.asyncio
@pytest.mark.parametrize("left", ["!queue", "stop", "// never mind", "<@{weft}>"])
async def test_an_edit_that_leaves_no_prompt_is_a_deletion(left: str) -> None:
    """Q5: and no command either."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "fix the tests")
        await alice.edit(said, left.format(weft=chat.fd.bot_user.id))
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.revisions)
        assert chat.dispatcher.revisions == [("deleted", said.id)]
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_who_may_not_prompt_may_not_edit_either() -> None:
    """Q5, D2: somebody who was taken off the list, or never was on it."""
    async with in_a_thread() as (chat, thread_id):
        alice, mallory = chat.fd.user("alice"), chat.fd.user("mallory")
        said = await alice.say(thread_id, "fix the tests")
        other = await mallory.say(thread_id, "hello")
        await chat.dispatcher.inbound(2)
        await mallory.edit(other, "rm -rf /")
        chat.gateway.allow(Policy())
        await alice.edit(said, "fix the docs")
        await chat.settled(thread_id)
        assert chat.dispatcher.revisions == []


@pytest.mark.asyncio
async def test_wefts_own_edits_are_nobodys_prompts() -> None:
    """Q5: a reply is edited every second."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        own = await port.send(Body("so far"), nonce="n1")
        await port.edit(own, Body("so far, so good"))
        await chat.settled(thread_id)
        assert chat.dispatcher.revisions == []


@pytest.mark.asyncio
@pytest.mark.parametrize("missing", ["content", "author", "type"])
async def test_an_update_that_does_not_say_all_is_passed_over(missing: str) -> None:
    """Q5, R3: nothing is made of it, and the connection stays."""
    async with in_a_thread() as (chat, thread_id):
        data = message_event_json(chat.fd.state, chat.fd.message(thread_id))
        del data[missing]
        await chat.fd.gateway.dispatch_raw("MESSAGE_UPDATE", data)
        await chat.settled(thread_id)
        assert chat.dispatcher.revisions == []
        assert len(chat.readies) == 1


@pytest.mark.asyncio
async def test_deleted_messages_are_told_to_the_work_one_by_one_or_many_at_once() -> None:
    """Q5: whoever deleted them."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        first, second, third = [await alice.say(thread_id, text) for text in ("one", "two", "three")]
        await alice.delete(first)
        await chat.fd.delete_messages(thread_id, [third.id, second.id])
        await chat.dispatcher.wait(lambda dispatcher: len(dispatcher.revisions) == 3)
        assert chat.dispatcher.revisions == [("deleted", one.id) for one in (first, second, third)]


@pytest.mark.asyncio
async def test_a_message_deleted_while_its_thread_is_looked_up_is_never_handed_over() -> None:
    """Q5: and its edit comes after it, not before."""
    async with FakeDiscord() as fd:
        async with running_chat(fd) as before:
            await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            thread_id = (await before.dispatcher.inbound()).thread_id
            await before.gateway.chat.open_thread(before.dispatcher.inbounds[0])
            kept = await fd.owner.say(thread_id, "kept")
            gone = await fd.owner.say(thread_id, "gone")
            await before.settled(thread_id)
            await fd.archive(thread_id)
        async with running_chat(fd) as after:
            fd.faults.next("GET", rf"/channels/{thread_id}$", Fault.status(503), times=2)
            await dispatch(after, "MESSAGE_CREATE", kept.id)
            await dispatch(after, "MESSAGE_CREATE", gone.id)
            await dispatch(after, "MESSAGE_UPDATE", kept.id, content="kept, and new")
            ids = {"id": str(gone.id), "channel_id": str(thread_id), "guild_id": str(fd.guild_id)}
            await fd.gateway.dispatch_raw("MESSAGE_DELETE", ids)
            await after.dispatcher.wait(lambda dispatcher: len(dispatcher.revisions) == 2)
            assert after.dispatcher.revisions == [("deleted", gone.id), ("edited", kept.id, "kept, and new")]
            assert after.dispatcher.course[-3:] == ["deleted", "kept", "edited"]
            assert [one.text for one in after.dispatcher.inbounds] == ["kept"]


@pytest.mark.asyncio
async def test_only_the_threads_of_what_is_gone_are_let_go() -> None:
    """D10: deleting a channel or leaving a server ends its threads, and what is gone is forgotten."""
    threads: RecentMap[int, Place] = RecentMap(10)
    for place in (Place(1, 100, 10, 99), Place(1, 101, 11, 99), Place(1, 102, 12, 99), Place(2, 103, 13, 99)):
        threads.put(place.channel_id, place)
    other = {"observer": None, "breaker": None, "may_send": lambda: True}
    state: Any = SimpleNamespace(threads=threads, marks=Watermarks(), **other)
    dispatcher = FakeDispatcher()
    client = WeftClient(dispatcher, Policy(), state, guild_ready_timeout=0.0)
    client.vanished(Place(1, 10))
    assert dispatcher.calls == [("gone", 100, "its channel was deleted"), ("forget", 10, 100)]
    client.vanished(Place(1, 101, 11))
    assert dispatcher.calls[2:] == [("gone", 101, "the thread was deleted"), ("forget", 101)]
    left: Any = SimpleNamespace(id=1)
    await client.on_guild_remove(left)
    assert dispatcher.calls[4:] == [("gone", 102, "Weft was removed from the server"), ("forget", 1, 102)]
    assert list(threads) == [103]
