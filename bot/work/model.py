"""What passes between Discord and the scheduler: plain frozen values (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """A person as far as the work needs one: id, the name to show, and the roles that may give rights."""

    id: int
    name: str
    roles: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message for the agent that `authorize()` let through.

    Attributes:
        message_id: snowflake; the order of arrival and the key that keeps a message from being handled twice.
        channel_id: where it was posted; equal to ``thread_id`` when it was posted in the thread.
        thread_id: the conversation; a thread opened from a message has the message's id, so it is known beforehand.
        opens_thread: whether the thread is still to be opened from this message.
        text: the prompt, without the mention of Weft.
        title: the name for a new thread, 1 to 100 characters.
    """

    message_id: int
    channel_id: int
    thread_id: int
    guild_id: int | None
    author: Actor
    text: str
    opens_thread: bool
    title: str
