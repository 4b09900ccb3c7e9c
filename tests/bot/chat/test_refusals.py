"""What Discord refuses that is no fault of the thread: the message gets through in another shape, or later."""

from __future__ import annotations

import pytest

from bot.demo.transcript import card_buttons
from bot.reply.port import Attachment, Body, Button, MessageGone, PortError, ThreadGone, Unavailable
from bot.sandbox import Fault

from .test_port import in_a_thread, texts

SENDS, EDITS = r"/messages$", r"/messages/\d+$"
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


@pytest.mark.asyncio
async def test_a_ban_page_by_the_proxy_says_nothing_of_the_thread() -> None:
    """D10: what is not in Discord's own words cancels no turn."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.html(403))
        with pytest.raises(Unavailable):
            await chat.gateway.chat.thread(thread_id).send(Body("hello"), nonce="n1")
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")) == 1
