"""An inbound message as the store keeps it: everything that is needed to run it after a restart (pure)."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from bot.work.model import Actor, Inbound
from pool.store import AcceptedPrompt


def accepted_prompt(inbound: Inbound) -> AcceptedPrompt:
    """Return the inbound as a row of the store."""
    payload = asdict(inbound)
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
    author = payload.pop("author")
    return Inbound(**payload, author=Actor(id=author["id"], name=author["name"], roles=frozenset(author["roles"])))
