"""Edits and deletions of messages, as a real client on the loopback Discord tells them to the work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bot.chat.authorize import Policy
from bot.reply.port import Body
from bot.sandbox import FakeDiscord, Fault
from bot.sandbox.objects import message_event_json

from .harness import Office, office


@asynccontextmanager
async def in_a_thread() -> AsyncIterator[tuple[Office, int]]:
    """Yield a chat that takes requests from alice, and a thread that it opened."""
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        async with office(fd, Policy(users=frozenset({alice.id}))) as chat:
            await alice.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.desk.inbound()
            await chat.gateway.chat.open_thread(inbound)
            yield chat, inbound.thread_id


async def dispatch(chat: Office, name: str, message_id: int, **changes: object) -> None:
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
        await chat.desk.wait(lambda desk: len(desk.revisions) == 2)
        assert chat.desk.revisions == [("edited", said.id, "fix the docs"), ("edited", thread_id, "start over")]
        assert len(chat.desk.inbounds) == 2


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
        assert chat.desk.revisions == []


@pytest.mark.asyncio
async def test_after_a_restart_a_message_that_was_never_edited_is_not_taken_for_edited() -> None:
    """Q5: its text is not known any more; whether it ever was edited is."""
    async with FakeDiscord() as fd:
        async with office(fd) as before:
            said = await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            await before.desk.inbound()
        async with office(fd) as after:
            await fd.unfurl(said.id)
            await fd.owner.edit(said, "start over")
            await after.desk.wait(lambda desk: desk.revisions)
            await after.settled(fd.channel_id)
            assert after.desk.revisions == [("edited", said.id, "start over")]


@pytest.mark.asyncio
@pytest.mark.parametrize("left", ["!queue", "stop", "// never mind", "<@{weft}>"])
async def test_an_edit_that_leaves_no_prompt_is_a_deletion(left: str) -> None:
    """Q5: and no command either."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "fix the tests")
        await alice.edit(said, left.format(weft=chat.fd.bot_user.id))
        await chat.desk.wait(lambda desk: desk.revisions)
        assert chat.desk.revisions == [("deleted", said.id)]
        assert chat.desk.calls == []


@pytest.mark.asyncio
async def test_who_may_not_prompt_may_not_edit_either() -> None:
    """Q5, D2: somebody who was taken off the list, or never was on it."""
    async with in_a_thread() as (chat, thread_id):
        alice, mallory = chat.fd.user("alice"), chat.fd.user("mallory")
        said = await alice.say(thread_id, "fix the tests")
        other = await mallory.say(thread_id, "hello")
        await chat.desk.inbound(2)
        await mallory.edit(other, "rm -rf /")
        chat.gateway.allow(Policy())
        await alice.edit(said, "fix the docs")
        await chat.settled(thread_id)
        assert chat.desk.revisions == []


@pytest.mark.asyncio
async def test_wefts_own_edits_are_nobodys_prompts() -> None:
    """Q5: a reply is edited every second."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        own = await port.send(Body("so far"), nonce="n1")
        await port.edit(own, Body("so far, so good"))
        await chat.settled(thread_id)
        assert chat.desk.revisions == []


@pytest.mark.asyncio
@pytest.mark.parametrize("missing", ["content", "author", "type"])
async def test_an_update_that_does_not_say_all_is_passed_over(missing: str) -> None:
    """Q5, R3: nothing is made of it, and the connection stays."""
    async with in_a_thread() as (chat, thread_id):
        data = message_event_json(chat.fd.state, chat.fd.message(thread_id))
        del data[missing]
        await chat.fd.gateway.dispatch_raw("MESSAGE_UPDATE", data)
        await chat.settled(thread_id)
        assert chat.desk.revisions == []
        assert len(chat.readies) == 1


@pytest.mark.asyncio
async def test_deleted_messages_are_told_to_the_work_one_by_one_or_many_at_once() -> None:
    """Q5: whoever deleted them."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        first, second, third = [await alice.say(thread_id, text) for text in ("one", "two", "three")]
        await alice.delete(first)
        await chat.fd.delete_messages(thread_id, [third.id, second.id])
        await chat.desk.wait(lambda desk: len(desk.revisions) == 3)
        assert chat.desk.revisions == [("deleted", one.id) for one in (first, second, third)]


@pytest.mark.asyncio
async def test_a_message_deleted_while_its_thread_is_looked_up_is_never_handed_over() -> None:
    """Q5: and its edit comes after it, not before."""
    async with FakeDiscord() as fd:
        async with office(fd) as before:
            await fd.owner.say(fd.channel_id, "start", mention_bot=True)
            thread_id = (await before.desk.inbound()).thread_id
            await before.gateway.chat.open_thread(before.desk.inbounds[0])
            kept = await fd.owner.say(thread_id, "kept")
            gone = await fd.owner.say(thread_id, "gone")
            await before.settled(thread_id)
            await fd.archive(thread_id)
        async with office(fd) as after:
            fd.faults.next("GET", rf"/channels/{thread_id}$", Fault.status(503), times=2)
            await dispatch(after, "MESSAGE_CREATE", kept.id)
            await dispatch(after, "MESSAGE_CREATE", gone.id)
            await dispatch(after, "MESSAGE_UPDATE", kept.id, content="kept, and new")
            ids = {"id": str(gone.id), "channel_id": str(thread_id), "guild_id": str(fd.guild_id)}
            await fd.gateway.dispatch_raw("MESSAGE_DELETE", ids)
            await after.desk.wait(lambda desk: len(desk.revisions) == 2)
            assert after.desk.revisions == [("deleted", gone.id), ("edited", kept.id, "kept, and new")]
            assert after.desk.course[-3:] == ["deleted", "kept", "edited"]
            assert [one.text for one in after.desk.inbounds] == ["kept"]
