"""Events and pages of history of which something can't be read: the real client against the loopback Discord."""

from __future__ import annotations

from typing import Any

import anyio
import discord
import pytest

from bot.chat.authorize import Policy
from bot.chat.inbound import UNREAD, Place, Post
from bot.chat.interactions import UNREAD as UNREAD_INTERACTION
from bot.chat.port import DiscordChat
from bot.reply.port import Body
from bot.sandbox import FakeDiscord
from bot.sandbox.guilds import guild_event_json
from bot.sandbox.objects import channel_json, message_event_json
from bot.sandbox.people import poll
from tests.bot.chat.harness import running_chat
from tests.pool.memory import MemoryStore

from .test_catchup import open_thread, texts, with_thread

NO_EXPIRY = {"poll": {**poll("Ship it?", "yes")["poll"], "expiry": None}}
"""discord.py raises on it."""

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("MESSAGE_CREATE", {"id": "not a number"}),
    ("MESSAGE_CREATE", {"id": "5", "guild_id": "1", "channel_id": "2", "author": None}),
    ("MESSAGE_UPDATE", {"id": None, "channel_id": 1, "author": [], "content": 1, "type": "x"}),
    ("MESSAGE_DELETE", {"id": "x"}),
    ("THREAD_CREATE", {"guild_id": None}),
    ("THREAD_UPDATE", {"id": "1"}),
    ("THREAD_LIST_SYNC", {"guild_id": "x"}),
    ("GUILD_CREATE", {"id": None}),
    ("GUILD_UPDATE", {}),
    ("CHANNEL_UPDATE", {"id": None}),
    ("INTERACTION_CREATE", {"id": "x", "type": 3}),
    ("GUILD_MEMBER_ADD", {}),
]


@pytest.mark.asyncio
async def test_events_that_cant_be_read_end_no_connection() -> None:
    """O4, R3: whatever they are about."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        for name, data in MALFORMED:
            await fd.gateway.dispatch_raw(name, data)
        await fd.owner.say(fd.channel_id, "still there?", mention_bot=True)
        assert (await chat.dispatcher.inbound()).text == "still there?"
        assert fd.gateway.identifies == 1


@pytest.mark.asyncio
async def test_of_a_server_only_the_channel_that_cant_be_read_is_unknown() -> None:
    """O4, R2: what is known of the others needs no look-up."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        other, client = fd.add_channel("other"), chat.gateway.current()
        whole = guild_event_json(fd.state, fd.bot_user.id, all_members=False)
        broken = {**channel_json(fd.state, fd.state.channel(fd.channel_id)), "id": "5", "position": None, "type": "x"}
        thread = {"id": "6", "type": 11, "guild_id": str(fd.guild_id)}
        event = {**whole, "channels": [broken, *whole["channels"]], "threads": [thread]}
        client._connection._guilds.clear()
        await fd.gateway.dispatch_raw("GUILD_CREATE", event)
        await chat.settled(other)
        assert isinstance(client.get_channel(other), discord.TextChannel)
        assert [client.get_channel(5), client.get_channel(6)] == [None, None]


@pytest.mark.asyncio
async def test_one_id_that_cant_be_read_keeps_no_other_message_from_being_withdrawn() -> None:
    """Q5, O4."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        ids = {"ids": ["7", None, "8"], "channel_id": str(fd.channel_id), "guild_id": str(fd.guild_id)}
        await fd.gateway.dispatch_raw("MESSAGE_DELETE_BULK", ids)
        await chat.dispatcher.wait(lambda dispatcher: dispatcher.revisions == [("deleted", 7), ("deleted", 8)])


@pytest.mark.asyncio
async def test_whoever_presses_what_cant_be_read_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, D6: instead of Discord's own line after three seconds."""

    def broken(**_parts: object) -> None:
        raise TypeError("a shape that nobody expected")

    async with FakeDiscord() as fd, running_chat(fd, Policy()):
        monkeypatch.setattr("discord.state.Interaction", broken)
        answer = await fd.owner.slash(fd.channel_id, "status")
        assert answer.response is not None
        assert answer.response["content"] == UNREAD_INTERACTION
        fd.assert_clean()


@pytest.mark.asyncio
async def test_messages_that_discords_library_cant_read_are_taken_live() -> None:
    """O4, D1, D8: a poll without an end is a poll; what can't be read at all is told."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        await fd.owner.say(thread_id, "vote", also=NO_EXPIRY)
        blank = await fd.owner.say(thread_id, "x", also={"content": None})
        await fd.owner.say(thread_id, files=[("a.png", b"png")])
        await fd.owner.say(thread_id, "after")
        await chat.dispatcher.wait(lambda dispatcher: "after" in texts(dispatcher))
        assert texts(chat.dispatcher)[1:] == ["vote", "", "after"]
        assert [one.name for one in chat.dispatcher.inbounds[2].attachments] == ["a.png"]
        assert [quote.text for quote in chat.dispatcher.inbounds[1].quotes] == ["Ship it?\n- yes"]
        reply = await fd.wait_message(thread_id, lambda one: one.reference_id == blank.id)
        assert reply.content == UNREAD
        assert fd.gateway.identifies == 1


@pytest.mark.asyncio
async def test_one_message_of_a_page_that_cant_be_read_costs_itself_alone_and_is_passed_for_good() -> None:
    """R2, O2, O4: all others come once and in order; what can't be read is told, also in a catch-up."""
    async with FakeDiscord() as fd:
        store = MemoryStore()
        async with running_chat(fd, Policy(), seen=store) as chat:
            thread_id = await open_thread(chat)
        await fd.owner.say(thread_id, "before")
        await fd.owner.say(thread_id, "vote", also=NO_EXPIRY)
        blank = await fd.owner.say(thread_id, "x", also={"content": ["?"]})
        await fd.owner.say(thread_id, "x", also={"attachments": None, "flags": "?", "mentions": {}, "type": None})
        last = await fd.owner.say(thread_id, "nobody's", also={"author": None})
        async with running_chat(fd, Policy(), seen=store) as chat:
            await chat.caught_up()
            assert [one.text for one in chat.dispatcher.started] == ["before", "vote", "x"]
            told = await fd.wait_message(thread_id, lambda one: one.reference_id == blank.id)
            assert told.content == UNREAD
            assert chat.gateway._state.marks.due() == []
        assert {one.place_id: one.seen for one in await store.places()}[thread_id] >= last.id


@pytest.mark.asyncio
async def test_a_reply_whose_original_is_not_told_waits_for_it_and_keeps_its_place() -> None:
    """Q1, D8: live, and a deleted original is none; later messages of the thread stay behind it."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        original = await fd.user("alice").say(thread_id, "it is broken")
        with fd.gateway.losing():
            replies = [await fd.owner.say(thread_id, text, reply_to=original, ping=True) for text in ("fix", "mend")]
            after = await fd.owner.say(thread_id, "after")
        events = [message_event_json(fd.state, one) for one in (*replies, after)]
        for event in events[:2]:
            del event["referenced_message"]
        events[1]["message_reference"]["message_id"] = "77"
        for event in events:
            await fd.gateway.dispatch_raw("MESSAGE_CREATE", event)
        await chat.dispatcher.wait(lambda dispatcher: "after" in texts(dispatcher))
        assert texts(chat.dispatcher)[1:] == ["fix", "mend", "after"]
        (quote,) = chat.dispatcher.inbounds[1].quotes
        alice = original.author_id
        assert (quote.headline, quote.text) == (f"In reply to alice (user {alice}), who wrote", "it is broken")
        assert chat.dispatcher.inbounds[2].quotes == ()


@pytest.mark.asyncio
async def test_what_weft_says_does_not_pass_a_reply_that_waits_for_its_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R2: it is not handed over yet, so a kill just now must not make the next run leave it out."""
    async with with_thread() as (chat, thread_id):
        fd, marks = chat.fd, chat.gateway._state.marks
        original = await fd.owner.say(thread_id, "it is broken")
        await chat.dispatcher.wait(lambda dispatcher: "it is broken" in texts(dispatcher))
        with fd.gateway.losing():
            reply = await fd.owner.say(thread_id, "fix", reply_to=original)
        event = message_event_json(fd.state, reply)
        del event["referenced_message"]
        answered, chat_port = anyio.Event(), chat.gateway.chat

        async def held(place: Place, message_id: int) -> Post:
            await answered.wait()
            return await DiscordChat.message(chat_port, place, message_id)

        monkeypatch.setattr(chat_port, "message", held)
        await fd.gateway.dispatch_raw("MESSAGE_CREATE", event)
        await chat_port.thread(thread_id).send(Body("Working on it"), nonce="n1")
        await fd.owner.say(fd.channel_id, "elsewhere", mention_bot=True)
        await chat.dispatcher.wait(lambda dispatcher: "elsewhere" in texts(dispatcher))
        assert "fix" not in texts(chat.dispatcher)
        assert marks._marks[thread_id].seen < reply.id
        answered.set()
        await chat.dispatcher.wait(lambda dispatcher: "fix" in texts(dispatcher))


@pytest.mark.asyncio
async def test_a_reply_that_waits_for_its_original_holds_up_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4."""
    async with with_thread() as (chat, thread_id):
        fd, chat_port, other = chat.fd, chat.gateway.chat, await open_thread(chat)

        async def message(place: Place, message_id: int) -> Post:
            if place.channel_id == thread_id:
                await anyio.sleep_forever()
            return await DiscordChat.message(chat_port, place, message_id)

        monkeypatch.setattr(chat_port, "message", message)
        for place_id in (thread_id, other):
            original = await fd.owner.say(place_id, "broken")
            with fd.gateway.losing():
                reply = await fd.owner.say(place_id, f"fix {place_id}", reply_to=original)
            event = message_event_json(fd.state, reply)
            del event["referenced_message"]
            await fd.gateway.dispatch_raw("MESSAGE_CREATE", event)
        await chat.dispatcher.wait(lambda dispatcher: f"fix {other}" in texts(dispatcher))
        assert f"fix {thread_id}" not in texts(chat.dispatcher)


@pytest.mark.asyncio
async def test_a_replys_ping_is_no_mention() -> None:
    """D1: in Weft's thread it is a prompt whomever it pings; elsewhere only a mention is one."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        alices = await fd.user("alice").say(thread_id, "it is broken")
        await fd.owner.say(thread_id, "fix this", reply_to=alices)
        wefts = next(one for one in fd.messages(thread_id) if one.author_id == fd.bot_user.id)
        other = fd.add_channel("other")
        said = await fd.owner.say(other, "hello", mention_bot=True)
        await chat.gateway.chat.answer(other, said.id, "no")
        helped = await fd.wait_message(other, lambda one: one.author_id == fd.bot_user.id)
        await fd.owner.say(other, "thanks", reply_to=helped)
        await fd.owner.say(thread_id, "and more", reply_to=wefts, ping=False)
        await chat.dispatcher.wait(lambda dispatcher: "and more" in texts(dispatcher))
        assert texts(chat.dispatcher)[1:] == ["fix this", "hello", "and more"]
        assert [quote.headline for quote in chat.dispatcher.inbounds[-1].quotes] == ["In reply to what you wrote"]
