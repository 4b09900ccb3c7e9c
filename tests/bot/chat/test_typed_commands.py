"""Typed commands: `stop`, `stop all` and `status` as words alone, heard live and in a catch-up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from bot.chat.answers import FAILED, NOT_IN_THREAD, run_command
from bot.chat.authorize import Policy, Reason
from bot.chat.inbound import Command
from bot.sandbox import FakeDiscord, Message
from bot.sandbox.model import User
from bot.sandbox.objects import message_event_json
from bot.sandbox.people import add_member
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from tests.bot.chat.harness import RunningChat, in_a_thread, running_chat
from tests.bot.work.samples import ALICE

pytestmark = pytest.mark.usefixtures("no_pause_before_identify")


async def answer_to(chat: RunningChat, said: Message) -> str:
    return (await chat.fd.wait_message(said.channel_id, lambda one: one.reference_id == said.id)).content


@pytest.mark.asyncio
async def test_stop_typed_alone_stops_and_is_answered() -> None:
    """Q7: in a thread of Weft's no mention is needed, and it is never a prompt."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "Stop!")
        assert await answer_to(chat, said) == "Stopping."
        assert chat.dispatcher.calls == [("stop", thread_id, alice.id, None)]
        assert len(chat.dispatcher.inbounds) == 1
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_stop_all_typed_alone_stops_what_is_older_than_itself() -> None:
    """Q7: its own snowflake is the border."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        said = await alice.say(thread_id, "stop all")
        assert await answer_to(chat, said) == "Stopping all."
        assert chat.dispatcher.calls == [("stop all", thread_id, alice.id, said.id)]


@pytest.mark.asyncio
async def test_status_typed_alone_tells_of_the_thread_or_of_everything() -> None:
    """Q11: outside threads with a mention, and of the whole bot."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert await answer_to(chat, await alice.say(thread_id, "status")) == "All quiet."
        outside = await alice.say(chat.fd.channel_id, "status", mention_bot=True)
        assert await answer_to(chat, outside) == "All quiet."
        assert chat.dispatcher.calls == [("status", thread_id), ("status", None)]


@pytest.mark.asyncio
async def test_stop_with_a_mention_outside_threads_says_where_it_belongs() -> None:
    """Q7: nothing is stopped by guess."""
    async with in_a_thread() as (chat, _):
        said = await chat.fd.user("alice").say(chat.fd.channel_id, "stop", mention_bot=True)
        assert await answer_to(chat, said) == NOT_IN_THREAD
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_a_strangers_stop_word_does_nothing_or_gets_the_usual_refusal() -> None:
    """Q7, D2"""
    async with in_a_thread() as (chat, thread_id):
        mallory = chat.fd.user("mallory")
        silent = await mallory.say(thread_id, "stop all")
        refused = await mallory.say(thread_id, "stop", mention_bot=True)
        assert await answer_to(chat, refused) == Reason.PERSON
        await chat.settled(thread_id)
        assert chat.dispatcher.calls == []
        assert all(one.reference_id != silent.id for one in chat.fd.messages(thread_id))


@pytest.mark.asyncio
async def test_a_stop_word_that_fails_is_answered_all_the_same() -> None:
    """Q7: an exception in the work leaves nobody without an answer."""
    async with in_a_thread() as (chat, thread_id):
        chat.dispatcher.broken = True
        assert await answer_to(chat, await chat.fd.user("alice").say(thread_id, "stop")) == FAILED


@pytest.mark.asyncio
async def test_a_long_status_is_cut_to_what_discord_takes() -> None:
    """Q11"""
    async with in_a_thread() as (chat, thread_id):
        chat.dispatcher.state = "busy " * 1000
        answer = await answer_to(chat, await chat.fd.user("alice").say(thread_id, "status"))
        assert len(answer) <= 2000
        assert answer.endswith("…")
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_stop_word_that_comes_twice_stops_once() -> None:
    """Q7: Discord may repeat an event after a reconnection; the turn that runs by then is another one."""
    async with in_a_thread() as (chat, thread_id):
        said = await chat.fd.user("alice").say(thread_id, "stop")
        await answer_to(chat, said)
        await chat.fd.gateway.dispatch_raw("MESSAGE_CREATE", message_event_json(chat.fd.state, said))
        await chat.settled(thread_id)
        assert len(chat.dispatcher.calls) == 1


@pytest.mark.asyncio
async def test_a_listed_bots_stop_word_stops_and_is_not_answered() -> None:
    """Q7, D2: two bots that answer each other would go on for ever."""
    async with in_a_thread() as (chat, thread_id):
        robot = chat.fd.user("robot")
        add_member(chat.fd.state, User(robot.id, "robot", bot=True))
        alice = chat.fd.user("alice")
        chat.gateway.allow(Policy(users=frozenset({alice.id, robot.id})))
        said = await robot.say(thread_id, "stop")
        marked = await alice.say(thread_id, "status")
        await answer_to(chat, marked)
        assert chat.dispatcher.calls == [("stop", thread_id, robot.id, None), ("status", thread_id)]
        assert all(one.reference_id != said.id for one in chat.fd.messages(thread_id))


@asynccontextmanager
async def caught_up_thread(**config: object) -> AsyncIterator[tuple[RunningChat, int]]:
    """Yield a chat that takes requests from alice and from nobody by role, and a thread that it opened."""
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        policy = Policy(users=frozenset({alice.id}))
        async with running_chat(fd, policy, **config) as chat:  # type: ignore[arg-type]
            await chat.caught_up()
            await alice.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.dispatcher.inbound()
            await chat.gateway.chat.open_thread(inbound)
            await chat.settled(inbound.thread_id)
            yield chat, inbound.thread_id


@pytest.mark.asyncio
async def test_a_message_edited_or_deleted_in_a_gap_comes_as_it_is_now() -> None:
    """Q5, R2: what was not handed over before the gap."""
    async with caught_up_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        async with chat.gap():
            edited = await alice.say(thread_id, "fix the tests")
            await alice.edit(edited, "fix the docs")
            await alice.delete(await alice.say(thread_id, "never mind"))
        assert [one.text for one in chat.dispatcher.inbounds[1:]] == ["fix the docs"]
        assert chat.dispatcher.revisions == []


@pytest.mark.asyncio
async def test_a_stop_word_typed_in_a_gap_still_stops_in_its_place_among_the_messages() -> None:
    """Q7, R2: what was posted before it is handed over before it, and it is carried out once."""
    async with caught_up_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        async with chat.gap():
            await alice.say(thread_id, "before")
            said = await alice.say(thread_id, "stop all")
            await alice.say(thread_id, "after")
        answer = await chat.fd.wait_message(thread_id, lambda one: one.reference_id == said.id)
        assert answer.content == "Stopping all."
        async with chat.gap():
            pass
        assert [call for call in chat.dispatcher.calls if call[0] != "status"] == [
            ("stop all", thread_id, alice.id, said.id)
        ]
        assert [one for one in chat.dispatcher.course if one in ("before", "stop all", "after")] == [
            "before",
            "stop all",
            "after",
        ]


@pytest.mark.asyncio
@pytest.mark.parametrize("typed", ["stop", "stop all"])
async def test_an_old_stop_word_is_not_carried_out_any_more(typed: str) -> None:
    """Q7, R2: no more than an old message is run unasked."""
    async with caught_up_thread(catch_up_limit=-1.0) as (chat, thread_id):
        async with chat.gap():
            await chat.fd.user("alice").say(thread_id, typed)
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_a_stop_word_of_somebody_let_in_by_a_role_is_found_too() -> None:
    """Q7, D2, R2: history does not tell roles, so they are asked for, as for prompts."""
    async with FakeDiscord() as fd:
        devs = fd.add_role("devs")
        bob = fd.user("bob", roles=[devs])
        async with running_chat(fd, Policy(roles=frozenset({devs}))) as chat:
            await chat.caught_up()
            await bob.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.dispatcher.inbound()
            await chat.gateway.chat.open_thread(inbound)
            await chat.settled(inbound.thread_id)
            async with chat.gap():
                await bob.say(inbound.thread_id, "stop")
                await fd.user("mallory").say(inbound.thread_id, "stop all")
            assert chat.dispatcher.calls == [("stop", inbound.thread_id, bob.id, None)]


def test_a_stop_that_was_typed_is_about_nothing_newer_than_itself() -> None:
    """Q7."""
    asked: list[object] = []

    class Asked:
        def stop(self, *args: object, **fields: object) -> Answer:
            asked.append((args, fields))
            return Answer("Stopping.", accepted=True)

    run_command(Command.STOP, cast("Dispatcher", SimpleNamespace(controls=Asked())), 100, ALICE, 55)
    assert asked == [((100, ALICE), {"before": 55})]
