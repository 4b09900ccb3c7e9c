"""What the store keeps of a message: all of it, and nothing of it in an error."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from bot.model import Actor, Attachment, Conversation, Inbound, Lane, Origin, Quote
from bot.work.serialization import accepted_prompt, inbound_of
from pool.storage.database import open_memory
from pool.storage.operations import Accept
from pool.store import AcceptedPrompt
from tests.bot.work.samples import inbound

FULL = Inbound(
    message_id=2**63 + 1,
    channel_id=7,
    thread_id=2**63 + 1,
    guild_id=9,
    author=Actor(id=11, name="Ålice 🦊", roles=frozenset((9, 1, 17))),
    text='line one\n"two"\t\x00 🦊',
    opens_thread=True,
    title="a title",
    quotes=(Quote("Poll", "yes?"), Quote("Sticker", "")),
    left_out=("a.png",),
    attachments=(
        Attachment(31, "../a\n\u202e.png", 3, "image/png", "https://cdn.discordapp.com/a?ex=1", 7, 2**63 + 1),
        Attachment(32, "voice.ogg", 0, "", "", 8, 5, Origin.REPLIED_TO, duration=1.5),
    ),
    conversation=Conversation(7, 2**63 + 1),
)


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        replace(FULL, lane=Lane.BACKGROUND, on_behalf=True, by_agent=True),
        inbound(1),
        replace(inbound(1), guild_id=None, text=""),
    ],
)
def test_a_message_comes_back_from_the_store_as_it_was(message: Inbound) -> None:
    """O2, R2."""
    assert inbound_of(accepted_prompt(message)) == message


def test_a_row_of_a_version_without_files_and_look_ups_has_none() -> None:
    """R2, F3, F9: what waits over an update is still run."""
    payload = orjson.loads(accepted_prompt(FULL).payload)
    del payload["attachments"], payload["conversation"]
    older = replace(accepted_prompt(FULL), payload=orjson.dumps(payload).decode())
    assert inbound_of(older) == replace(FULL, attachments=(), conversation=None)


def test_the_row_has_the_ids_in_columns_of_their_own() -> None:
    """R2."""
    row = accepted_prompt(FULL)
    assert (row.message_id, row.thread_id, row.channel_id, row.author_id) == (2**63 + 1, 2**63 + 1, 7, 11)


def test_the_same_message_makes_the_same_row() -> None:
    """R2: the order in which the roles came does not matter."""
    other = replace(FULL, author=replace(FULL.author, roles=frozenset((17, 9, 1))))
    assert accepted_prompt(other) == accepted_prompt(FULL)


def test_a_statement_that_fails_says_nothing_of_what_was_to_be_written() -> None:
    """R5: such an error goes into the log, and a prompt's text does not."""
    database = open_memory()
    broken = AcceptedPrompt(1, 1, 1, None, payload="what somebody said")  # type: ignore[arg-type]
    ((answer),) = database.apply([Accept(broken)])
    database.close()
    assert answer.error is not None
    assert "what somebody said" not in str(answer.error)
