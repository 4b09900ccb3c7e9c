"""Sending and editing through a real client: what arrives, once, and what each refusal of Discord is turned into."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from bot.chat.authorize import Policy
from bot.chat.port import DiscordChat
from bot.chat.rest import SPARING, Breaker, RetryLimits
from bot.demo.transcript import card_buttons
from bot.redaction import Redactor
from bot.reply.port import (
    Attachment,
    Body,
    Button,
    MessageGone,
    OwnMessage,
    PortError,
    ThreadArchived,
    ThreadGone,
    Unavailable,
)
from bot.sandbox import FakeDiscord, Fault
from tests.bot.chat.harness import RunningChat, running_chat

SENDS, EDITS = r"/messages$", r"/messages/\d+$"


@asynccontextmanager
async def in_a_thread() -> AsyncIterator[tuple[RunningChat, int]]:
    """Yield a chat and a thread that it opened."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        await fd.owner.say(fd.channel_id, "start", mention_bot=True)
        inbound = await chat.dispatcher.inbound()
        await chat.gateway.chat.open_thread(inbound)
        yield chat, inbound.thread_id


def texts(chat: RunningChat, thread_id: int) -> list[str]:
    return [message.content for message in chat.fd.messages(thread_id)]


@pytest.mark.asyncio
async def test_a_message_is_posted_edited_and_notifies_nobody() -> None:
    """D3, D9: allowed_mentions stands in every body; links are not unfolded."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("@everyone hello", (Button("weft:stop:1:2", "Stop", "danger"),)), nonce="n1")
        await port.edit(message_id, Body("@everyone good-bye"))
        message = chat.fd.message(message_id)
        assert (message.content, message.components) == ("@everyone good-bye", [])
        bodies = [call.body for call in chat.fd.rest_calls(path_contains=f"/channels/{thread_id}/messages")]
        assert [body["allowed_mentions"] for body in bodies] == [{"parse": []}, {"parse": []}]
        assert bodies[0]["flags"] == 4
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_only_the_person_named_in_the_body_is_notified() -> None:
    """D9: the requester, and nobody else."""
    async with in_a_thread() as (chat, thread_id):
        owner = chat.fd.owner.id
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body(f"<@{owner}> @everyone", ping=owner), nonce="n1")
        await port.edit(message_id, Body(f"<@{owner}> done", ping=owner))
        for call in chat.fd.rest_calls(path_contains=f"/channels/{thread_id}/messages"):
            assert call.body["allowed_mentions"]["parse"] == []
            assert [int(user) for user in call.body["allowed_mentions"]["users"]] == [owner]


@pytest.mark.asyncio
async def test_only_the_role_named_in_the_body_is_notified() -> None:
    """D9, C1: of the first listed role that the server has; a server that is not known may have it."""
    async with in_a_thread() as (chat, thread_id):
        approvers, others = chat.fd.add_role("approvers"), chat.fd.add_role("others")
        body = Body(f"<@&{approvers}> <@&{others}> <@{chat.fd.owner.id}>", role=approvers)
        message_id = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        assert chat.fd.message(message_id).mention_roles == (approvers,)
        assert chat.fd.message(message_id).mentions == ()
        guild_id = (await chat.dispatcher.inbound()).guild_id
        discord = chat.gateway.chat
        assert discord.first_role(guild_id, (77, approvers, others)) == approvers
        assert (discord.first_role(guild_id, (77,)), discord.first_role(guild_id, ())) == (None, None)
        assert discord.first_role(78, (77, approvers)) == 77
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_thread_tells_and_takes_after_how_much_silence_it_is_archived() -> None:
    """C1: other people's threads are not Weft's to change."""
    async with in_a_thread() as (chat, thread_id):
        port, fd = chat.gateway.chat.thread(thread_id), chat.fd
        assert await port.archives_after() == 1440
        await port.archive_after(10_080)
        assert await port.archives_after() == 10_080
        await fd.archive(thread_id)
        assert await port.archives_after() is None
        assert await chat.gateway.chat.thread(fd.channel_id).archives_after() is None
        foreign = await fd.start_thread(fd.owner, await fd.owner.say(fd.channel_id, "topic"), "topic")
        fd.deny("manage_threads", fd.channel_id)
        with pytest.raises(ThreadGone):
            await chat.gateway.chat.thread(foreign.id).archive_after(10_080)


@pytest.mark.asyncio
async def test_buttons_arrive_as_given_five_in_a_row() -> None:
    """D6: label, style, custom_id and whether it can be pressed."""
    async with in_a_thread() as (chat, thread_id):
        buttons = tuple(Button(f"weft:perm:a:{number}", f"Option {number}", "success") for number in range(6))
        buttons = (*buttons[:5], dataclasses.replace(buttons[5], disabled=True, style="primary"))
        message_id = await chat.gateway.chat.thread(thread_id).send(Body("choose", buttons), nonce="n1")
        rows = [row["components"] for row in chat.fd.message(message_id).components]
        assert [len(row) for row in rows] == [5, 1]
        assert [entry["custom_id"] for row in rows for entry in row] == [button.custom_id for button in buttons]
        assert (rows[0][0]["label"], rows[0][0]["style"], rows[0][0].get("disabled", False)) == ("Option 0", 3, False)
        assert (rows[1][0]["style"], rows[1][0]["disabled"]) == (1, True)


@pytest.mark.asyncio
async def test_sent_buttons_leave_nothing_behind_in_the_client() -> None:
    """O2: a bot that runs for months keeps no view for each message."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("a", (Button("weft:stop:1:2", "Stop"),)), nonce="n1")
        await port.edit(message_id, Body("b", (Button("weft:stop:1:2", "Stop"),)))
        assert chat.gateway.current().persistent_views == []
        assert chat.gateway.current()._connection._view_store._synced_message_views == {}


@pytest.mark.asyncio
async def test_a_file_is_posted_and_left_alone_by_an_edit() -> None:
    """D4: the rest of a long answer is a file."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        body = Body("the rest is attached", file=Attachment("answer.md", b"# long"))
        chat.fd.faults.next("POST", SENDS, Fault.RESET_BEFORE)
        message_id = await port.send(body, nonce="n1")
        await port.edit(message_id, Body("the rest is attached, below"))
        attachments = chat.fd.message(message_id).attachments
        assert [(one.name, one.content) for one in attachments] == [("answer.md", b"# long")]


@pytest.mark.asyncio
async def test_a_reply_to_a_deleted_message_is_posted_all_the_same() -> None:
    """O1: the prompt may be gone; the answer is not."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.owner.say(thread_id, "question")
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("answer"), nonce="n1", reply_to=said.id)
        assert chat.fd.message(message_id).reference_id == said.id
        await chat.fd.owner.delete(said)
        await port.send(Body("again"), nonce="n2", reply_to=said.id)
        assert texts(chat, thread_id)[-2:] == ["answer", "again"]


@pytest.mark.asyncio
async def test_an_edit_in_an_archived_thread_is_refused_and_a_send_opens_it_again() -> None:
    """D10: what was not shown is sent as one new message."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("first"), nonce="n1")
        await chat.fd.archive(thread_id)
        with pytest.raises(ThreadArchived):
            await port.edit(message_id, Body("second"))
        await port.send(Body("third"), nonce="n3")
        assert texts(chat, thread_id)[-2:] == ["first", "third"]
        assert not chat.fd.thread(thread_id).archived


@pytest.mark.asyncio
async def test_a_message_that_was_deleted_is_gone() -> None:
    """D10: its content is to be sent anew."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("first"), nonce="n1")
        await chat.fd.delete_message(message_id)
        with pytest.raises(MessageGone):
            await port.edit(message_id, Body("second"))
        assert len(chat.fd.rest_calls("PATCH")) == 1


async def _delete(fd: FakeDiscord, thread_id: int) -> None:
    await fd.delete_channel(thread_id)


async def _lock(fd: FakeDiscord, thread_id: int) -> None:
    await fd.archive(thread_id, locked=True)


async def _hide(fd: FakeDiscord, thread_id: int) -> None:
    fd.deny("view_channel", thread_id)


async def _silence(fd: FakeDiscord, thread_id: int) -> None:
    fd.deny("send_messages_in_threads", thread_id)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", [_delete, _lock, _hide, _silence])
async def test_a_thread_that_can_not_be_written_to_is_gone(how: Callable[[FakeDiscord, int], Awaitable[None]]) -> None:
    """D10: locked, deleted or forbidden; asked once, not again and again."""
    async with in_a_thread() as (chat, thread_id):
        await how(chat.fd, thread_id)
        with pytest.raises(ThreadGone):
            await chat.gateway.chat.thread(thread_id).send(Body("hello"), nonce="n1")
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) == 1


@pytest.mark.asyncio
async def test_a_body_that_discord_refuses_is_neither_repeated_nor_taken_for_a_missing_thread() -> None:
    """D10: a mistake of ours must not end a turn."""
    async with in_a_thread() as (chat, thread_id):
        with pytest.raises(PortError, match="50035") as caught:
            await chat.gateway.chat.thread(thread_id).send(Body("x" * 2001), nonce="n1")
        assert type(caught.value) is PortError
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("nonce", ["", "x" * 26])
async def test_a_nonce_that_discord_would_not_take_is_refused_here(nonce: str) -> None:
    """D3: without its nonce a repeated send would post twice."""

    def nobody() -> object:
        raise AssertionError("no client is needed to see that")

    with pytest.raises(ValueError, match="nonce"):
        await DiscordChat(nobody, RetryLimits(), Breaker(), Redactor()).thread(1).send(Body("hello"), nonce=nonce)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_the_typing_sign_is_shown_and_not_insisted_on() -> None:
    """D3: a late sign is of no use."""
    async with in_a_thread() as (chat, thread_id):
        await chat.gateway.chat.thread(thread_id).typing()
        chat.fd.faults.next("POST", "/typing", Fault.status(503))
        with pytest.raises(Unavailable):
            await chat.gateway.chat.thread(thread_id).typing()
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/typing")) == 2


@pytest.mark.asyncio
async def test_a_thread_has_the_messages_id_and_the_title_and_is_opened_once() -> None:
    """D1: opened twice, or with the first answer lost, it is still one thread."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.owner.say(chat.fd.channel_id, "# Fix *it*\nplease", mention_bot=True)
        inbound = await chat.dispatcher.inbound(2)
        chat.fd.faults.next("POST", "/threads$", Fault.RESET_AFTER)
        await chat.gateway.chat.open_thread(inbound)
        await chat.gateway.chat.open_thread(inbound)
        assert [(one.id, one.name) for one in chat.fd.threads()] == [(thread_id, "start"), (said.id, "Fix it")]


@pytest.mark.asyncio
async def test_a_channel_where_no_thread_may_be_opened_is_said_so() -> None:
    """D10: the missing permission ends in an error that the work can tell."""
    async with in_a_thread() as (chat, _):
        chat.fd.deny("create_public_threads", chat.fd.channel_id)
        await chat.fd.owner.say(chat.fd.channel_id, "again", mention_bot=True)
        inbound = await chat.dispatcher.inbound(2)
        with pytest.raises(ThreadGone, match="50013"):
            await chat.gateway.chat.open_thread(inbound)
        await chat.gateway.chat.refuse(inbound, "I may not open threads here.")
        answer = chat.fd.messages(chat.fd.channel_id)[-1]
        assert (answer.content, answer.reference_id) == ("I may not open threads here.", inbound.message_id)


@pytest.mark.asyncio
async def test_the_first_sign_is_a_reaction_or_where_that_is_forbidden_the_typing_sign() -> None:
    """O2, D3: a reaction on the message."""
    async with in_a_thread() as (chat, thread_id):
        inbound = chat.dispatcher.inbounds[0]
        await chat.gateway.chat.acknowledge(inbound, "👀")
        assert chat.fd.message(thread_id).reactions == {"👀": {chat.fd.bot_user.id}}
        chat.fd.deny("add_reactions", chat.fd.channel_id)
        other = await chat.fd.owner.say(chat.fd.channel_id, "more", mention_bot=True)
        await chat.gateway.chat.acknowledge(dataclasses.replace(inbound, message_id=other.id), "👀")
        assert len(chat.fd.rest_calls("POST", f"/channels/{chat.fd.channel_id}/typing")) == 1


@pytest.mark.asyncio
async def test_wefts_own_messages_after_one_are_told_with_their_texts() -> None:
    """R2, D3: after a restart the reply finds out what of it arrived; oldest first, nobody else's."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        first = OwnMessage(await port.send(Body("first"), nonce="n1"), "first")
        buttons = Button("weft:now:1:2", "Send now"), Button("weft:drop:1:2", "Remove", row=1)
        sent = await port.send(Body("second", buttons), nonce="n2")
        second = OwnMessage(sent, "second", ("weft:now:1:2", "weft:drop:1:2"))
        await chat.fd.owner.say(thread_id, "by the owner")
        sent = await port.send(Body("third"), nonce="n3", reply_to=sent)
        third = OwnMessage(sent, "third", reply_to=second.message_id)
        assert await port.own_messages(thread_id, 50) == [first, second, third]
        assert await port.own_messages(first.message_id, 50) == [second, third]
        assert await port.own_messages(first.message_id, 2) == [second]
        assert await port.own_messages(third.message_id, 50) == []


@pytest.mark.asyncio
async def test_own_messages_of_a_thread_that_is_gone_are_an_error_and_not_none() -> None:
    """R2, D10: nothing is posted anew on a guess."""
    async with in_a_thread() as (chat, thread_id):
        await chat.fd.delete_channel(thread_id)
        with pytest.raises(ThreadGone):
            await chat.gateway.chat.thread(thread_id).own_messages(thread_id, 50)


def reactions(chat: RunningChat, message_id: int) -> list[str]:
    weft = chat.fd.bot_user.id
    return [emoji for emoji, users in chat.fd.message(message_id).reactions.items() if weft in users]


@pytest.mark.asyncio
async def test_a_reaction_takes_the_place_of_another() -> None:
    """Q5: the new one first, so that there is always a sign; the other is gone at the end, or was already."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.owner.say(thread_id, "more")
        await chat.fd.owner.react(said, "👀")
        port = chat.gateway.chat
        await port.react(thread_id, said.id, "👀")
        await port.react(thread_id, said.id, "⏳", instead_of=("👀",))
        assert reactions(chat, said.id) == ["⏳"]
        assert chat.fd.owner.id in chat.fd.message(said.id).reactions["👀"]
        await port.react(thread_id, said.id, "✅", instead_of=("👀",))
        await port.react(thread_id, said.id, "✅", instead_of=("✅",))
        assert reactions(chat, said.id) == ["⏳", "✅"]
        methods = [call.method for call in chat.fd.rest_calls(path_contains="/reactions/")]
        assert methods == ["PUT", "PUT", "DELETE", "PUT", "DELETE", "PUT"]


@pytest.mark.asyncio
async def test_where_reactions_are_forbidden_nothing_happens_and_the_log_says_so_once() -> None:
    """Q5, D10: neither in an archived thread, nor on a message that is gone."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.owner.say(thread_id, "more")
        chat.fd.deny("add_reactions", thread_id)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await chat.gateway.chat.react(thread_id, said.id, "⏳", instead_of=("👀",))
        assert [entry["channel"] for entry in logs if entry["event"] == "reaction.refused"] == [thread_id]
        chat.fd.allow("add_reactions", thread_id)
        await chat.fd.archive(thread_id)
        await chat.gateway.chat.react(thread_id, said.id, "⏳")
        await chat.fd.owner.delete(said)
        await chat.gateway.chat.react(thread_id, said.id, "⏳")
        assert chat.fd.rest_calls("DELETE", "/reactions/") == []


@pytest.mark.asyncio
async def test_reactions_are_the_first_that_a_careful_bot_leaves_out() -> None:
    """O2: they are not essential; a breaker that is half open lets them not through."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.owner.say(thread_id, "more")
        for _ in range(SPARING):
            chat.gateway.breaker.count(403)
        with pytest.raises(Unavailable):
            await chat.gateway.chat.react(thread_id, said.id, "⏳")
        assert reactions(chat, said.id) == []


FILE = Attachment("answer.md", b"all of it")


@pytest.mark.asyncio
async def test_a_message_too_old_to_be_edited_once_more_is_treated_as_gone() -> None:
    """D3: Discord allows few edits of a message older than an hour; the final text goes into a new one."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("old"), nonce="n1")
        chat.fd.faults.next("PATCH", EDITS, Fault.status(429, 30046))
        with pytest.raises(MessageGone, match="30046"):
            await port.edit(message_id, Body("new"))
        assert len(chat.fd.rest_calls("PATCH", f"/channels/{thread_id}/messages/")) == 1


@pytest.mark.asyncio
async def test_without_the_permission_to_reply_the_message_is_posted_as_no_reply() -> None:
    """D3, D10: a server that hides its history from Weft is no reason to cancel a turn."""
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        first = await port.send(Body("first"), nonce="n1")
        chat.fd.faults.next("POST", SENDS, Fault.status(403, 160002))
        message_id = await port.send(Body("second"), nonce="n2", reply_to=first)
        assert chat.fd.message(message_id).reference_id is None
        bodies = [call.body for call in chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")]
        assert [body["nonce"] for body in bodies] == ["n1", "n2", "n2"]
        assert all(body["allowed_mentions"] == {"parse": []} for body in bodies[:1] + bodies[2:])


@pytest.mark.asyncio
async def test_without_the_permission_to_attach_files_the_text_is_posted_alone_and_says_so() -> None:
    """D3, D10: the outcome is seen, and the thread is not taken for gone."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.status(403, 50013))
        await chat.gateway.chat.thread(thread_id).send(Body("answered", file=FILE), nonce="n1")
        assert texts(chat, thread_id)[-1].startswith("answered\n-# The file could not be posted")


@pytest.mark.asyncio
async def test_a_card_whose_file_is_refused_offers_only_what_needs_no_file() -> None:
    """D6: nobody approves what they can't see in full; with nothing left to press, there is no card."""
    yes, no = Button("weft:perm:t:0", "Allow"), Button("weft:perm:t:1", "Reject")
    async with in_a_thread() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        chat.fd.faults.next("POST", SENDS, Fault.status(403, 50013))
        message_id = await port.send(Body("card", (yes, no), FILE, fileless=(no,)), nonce="n1")
        assert [button.label for button in card_buttons(chat.fd.message(message_id))] == ["Reject"]
        assert "it can only be rejected" in texts(chat, thread_id)[-1]
        chat.fd.faults.next("POST", SENDS, Fault.status(403, 50013))
        with pytest.raises(PortError, match="nothing is left to press"):
            await port.send(Body("card", (yes,), FILE, fileless=()), nonce="n2")


@pytest.mark.asyncio
async def test_a_full_message_whose_file_is_refused_stays_within_the_limit() -> None:
    """D3"""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.status(403, 50013))
        await chat.gateway.chat.thread(thread_id).send(Body("x" * 2000, file=FILE), nonce="n1")
        assert len(texts(chat, thread_id)[-1]) <= 2000


@pytest.mark.asyncio
async def test_a_thread_that_takes_the_text_no_more_than_the_file_is_gone() -> None:
    """D10"""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.deny("send_messages_in_threads", thread_id)
        with pytest.raises(ThreadGone):
            await chat.gateway.chat.thread(thread_id).send(Body("answered", file=FILE), nonce="n1")
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) == 2
