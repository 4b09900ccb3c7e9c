"""Looks up the message that another one replies to, where Discord did not tell it along. No state is kept here."""

from __future__ import annotations

import dataclasses

import anyio
import structlog

from bot.chat.inbound import Post
from bot.chat.revisions import Messages
from bot.reply.port import MessageGone, PortError

log = structlog.get_logger(__name__)

LIMIT = 5.0
"""Seconds; a prompt waits no longer for what it replies to."""


async def with_original(post: Post, messages: Messages) -> Post:
    """Return a reply with its original, as far as that can be had: of one that was deleted nothing is said."""
    if post.reference is None:
        return post
    error = "time-out"
    with anyio.move_on_after(LIMIT):
        try:
            original = await messages.message(post.place, post.reference)
        except MessageGone:
            return dataclasses.replace(post, reference=None)
        except PortError as exc:
            error = str(exc)
        else:
            return dataclasses.replace(post, reference=None, original=original)
    log.warning("original.unknown", message=post.message_id, error=error)
    return post
