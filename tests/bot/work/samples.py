"""Inbound messages for the tests of the work."""

from __future__ import annotations

from bot.work.model import Actor, Inbound
from bot.work.queue import Prompt

ALICE = Actor(id=11, name="alice")
BOB = Actor(id=12, name="bob")


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


def prompt(message_id: int, *, thread_id: int = 100) -> Prompt:
    return Prompt(inbound(message_id, thread_id=thread_id))
