"""An inbound message as the store keeps it: everything that is needed to run it after a restart (pure)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from bot.model import Actor, Attachment, Conversation, Inbound, Lane, Origin, QueueMode, Quote
from pool.store import AcceptedPrompt


def accepted_prompt(inbound: Inbound, *, missed: bool = False) -> AcceptedPrompt:
    """Return the inbound as a row of the store; ``missed``: nobody runs it unasked."""
    payload = asdict(inbound) | ({"missed": True} if missed else {})
    payload["author"]["roles"] = sorted(inbound.author.roles)
    return AcceptedPrompt(
        message_id=inbound.message_id,
        thread_id=inbound.thread_id,
        channel_id=inbound.channel_id,
        author_id=inbound.author.id,
        payload=orjson.dumps(payload).decode(),
    )


def inbound_of(prompt: AcceptedPrompt) -> Inbound:
    """Return the inbound of a row of the store."""
    payload = orjson.loads(prompt.payload)
    payload.pop("missed", None)
    quotes, left_out = payload.pop("quotes", ()), payload.pop("left_out", ())
    # Absent in rows of older versions, which passed no files on and looked nothing up.
    attachments, conversation = payload.pop("attachments", ()), payload.pop("conversation", None)
    author, mode, lane = payload.pop("author"), payload.pop("mode", None), payload.pop("lane", Lane.MAIN)
    return Inbound(
        **payload,
        author=Actor(id=author["id"], name=author["name"], roles=frozenset(author["roles"])),
        mode=QueueMode(mode) if mode is not None else None,
        lane=Lane(lane),
        quotes=tuple(Quote(**quote) for quote in quotes),
        left_out=tuple(left_out),
        attachments=tuple(map(_attachment, attachments)),
        conversation=Conversation(**conversation) if conversation is not None else None,
    )


def _attachment(kept: dict[str, Any]) -> Attachment:
    return Attachment(**(kept | {"origin": Origin(kept["origin"])}))


def was_missed(prompt: AcceptedPrompt) -> bool:
    """Return whether a row of the store is of a message that came too late to be run unasked."""
    return bool(orjson.loads(prompt.payload).get("missed"))
