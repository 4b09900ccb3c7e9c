"""Edits, deletions and stop words of a time when nobody listened, as a catch-up finds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bot.chat.authorize import Policy
from bot.chat.client import WeftClient
from bot.sandbox import FakeDiscord

from .harness import Office, office


@pytest.fixture(autouse=True)
def no_pause_before_identify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the five seconds that discord.py waits after a refused RESUME."""

    async def at_once(_client: WeftClient, _shard: int | None, *, initial: bool = False) -> None:
        del initial

    monkeypatch.setattr(WeftClient, "before_identify_hook", at_once)


@asynccontextmanager
async def in_a_thread(**config: object) -> AsyncIterator[tuple[Office, int]]:
    """Yield a chat that takes requests from alice and from nobody by role, and a thread that it opened."""
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        policy = Policy(users=frozenset({alice.id}))
        async with office(fd, policy, **config) as chat:  # type: ignore[arg-type]
            await chat.caught_up()
            await alice.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.desk.inbound()
            await chat.gateway.chat.open_thread(inbound)
            await chat.settled(inbound.thread_id)
            yield chat, inbound.thread_id


@pytest.mark.asyncio
async def test_a_message_edited_or_deleted_in_a_gap_comes_as_it_is_now() -> None:
    """Q5, R2: what was not handed over before the gap."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        async with chat.gap():
            edited = await alice.say(thread_id, "fix the tests")
            await alice.edit(edited, "fix the docs")
            await alice.delete(await alice.say(thread_id, "never mind"))
        assert [one.text for one in chat.desk.inbounds[1:]] == ["fix the docs"]
        assert chat.desk.revisions == []


@pytest.mark.asyncio
async def test_a_stop_word_typed_in_a_gap_still_stops_in_its_place_among_the_messages() -> None:
    """Q7, R2: what was posted before it is handed over before it, and it is carried out once."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        async with chat.gap():
            await alice.say(thread_id, "before")
            said = await alice.say(thread_id, "stop all")
            await alice.say(thread_id, "after")
        answer = await chat.fd.wait_message(thread_id, lambda one: one.reference_id == said.id)
        assert answer.content == "Stopping all."
        async with chat.gap():
            pass
        assert [call for call in chat.desk.calls if call[0] != "status"] == [("stop all", thread_id, alice.id, said.id)]
        assert [one for one in chat.desk.course if one in ("before", "stop all", "after")] == [
            "before",
            "stop all",
            "after",
        ]


@pytest.mark.asyncio
@pytest.mark.parametrize("typed", ["stop", "stop all"])
async def test_an_old_stop_word_is_not_carried_out_any_more(typed: str) -> None:
    """Q7, R2: no more than an old message is run unasked."""
    async with in_a_thread(catch_up_limit=-1.0) as (chat, thread_id):
        async with chat.gap():
            await chat.fd.user("alice").say(thread_id, typed)
        assert chat.desk.calls == []


@pytest.mark.asyncio
async def test_a_stop_word_of_somebody_let_in_by_a_role_is_found_too() -> None:
    """Q7, D2, R2: history does not tell roles, so they are asked for, as for prompts."""
    async with FakeDiscord() as fd:
        devs = fd.add_role("devs")
        bob = fd.user("bob", roles=[devs])
        async with office(fd, Policy(roles=frozenset({devs}))) as chat:
            await chat.caught_up()
            await bob.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.desk.inbound()
            await chat.gateway.chat.open_thread(inbound)
            await chat.settled(inbound.thread_id)
            async with chat.gap():
                await bob.say(inbound.thread_id, "stop")
                await fd.user("mallory").say(inbound.thread_id, "stop all")
            assert chat.desk.calls == [("stop", inbound.thread_id, bob.id, None)]
