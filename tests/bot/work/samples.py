"""Inbound messages for the tests of the work."""

from __future__ import annotations

from dataclasses import replace

from bot.model import Actor, Inbound, QueueMode, ThreadPlace
from bot.work.queue.entry import Entry

ALICE = Actor(id=11, name="alice")
BOB = Actor(id=12, name="bob")
PLACE = ThreadPlace(guild_id=1, thread_id=100, parent_id=7)


def inbound(message_id: int, *, thread_id: int = 100, text: str = "hello", author: Actor = ALICE) -> Inbound:
    return Inbound(
        message_id=message_id,
        channel_id=thread_id,
        thread_id=thread_id,
        guild_id=1,
        author=author,
        text=text,
        opens_thread=False,
        title="hello",
    )


def mention(message_id: int) -> Inbound:
    """Return a message in a channel; the thread that it asks for will have its id."""
    return replace(inbound(message_id, thread_id=message_id), channel_id=7, opens_thread=True)


def entry(message_id: int, *, thread_id: int = 100) -> Entry:
    return entry_of(inbound(message_id, thread_id=thread_id))


def entry_of(*messages: Inbound) -> Entry:
    first = messages[0]
    return Entry(first.message_id, first.thread_id, QueueMode.QUEUE, first.lane, list(messages))
