"""/stop all, /queue and the buttons of waiting messages through a real client: what the work is asked and told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bot.chat.authorize import Policy, Reason
from bot.chat.commands import NOT_FOR_SERVER, NOT_IN_THREAD
from bot.chat.views import EXPIRED, is_known
from bot.model import QueueMode
from bot.reply.cards import go_on_button, remove_button, send_now_button
from bot.reply.port import Body
from bot.sandbox import CallbackType, FakeDiscord, Fault, Interaction, Message
from bot.sandbox.model import ADMINISTRATOR, PERMISSIONS

from .harness import Office, office

PROMPT = 42


@asynccontextmanager
async def in_a_thread(*friends: str) -> AsyncIterator[tuple[Office, int]]:
    """Yield a chat that takes requests from alice and her friends, and a thread that it opened."""
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        people = frozenset(fd.user(name).id for name in ("alice", *friends))
        async with office(fd, Policy(users=people, owners=frozenset({fd.user("operator").id}))) as chat:
            await alice.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.desk.inbound()
            await chat.gateway.chat.open_thread(inbound)
            yield chat, inbound.thread_id


async def waiting(chat: Office, thread_id: int, names: int | None = None) -> Message:
    """Post the notice of a waiting message; its buttons name the thread ``names`` instead of its own."""
    where = thread_id if names is None else names
    body = Body("Waiting: 1 before it", (send_now_button(where, PROMPT), remove_button(where, PROMPT)))
    return chat.fd.message(await chat.gateway.chat.thread(thread_id).send(body, nonce="n1"))


def only_told(interaction: Interaction) -> str:
    """Return what the person alone was told as the first answer."""
    assert interaction.kind is CallbackType.MESSAGE
    assert interaction.ephemeral
    return str((interaction.response or {})["content"])


@pytest.mark.asyncio
async def test_stop_ends_the_turn_unless_all_is_asked_for() -> None:
    """Q7: `/stop`, `/stop turn` and `/stop all`, whose border is its own snowflake."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "stop")) == "Stopping."
        assert only_told(await alice.slash(thread_id, "stop", what="turn")) == "Stopping."
        asked = await alice.slash(thread_id, "stop", what="all")
        assert only_told(asked) == "Stopping all."
        one = ("stop", thread_id, alice.id, None)
        assert chat.desk.calls == [one, one, ("stop all", thread_id, alice.id, asked.id)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_the_queue_is_shown_and_cleared_to_the_one_who_asks() -> None:
    """Q5, Q11"""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "queue show")) == "Nothing waits."
        assert only_told(await alice.slash(thread_id, "queue clear")) == "Cleared."
        assert chat.desk.calls == [("queue", thread_id), ("clear", thread_id, alice.id)]


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", QueueMode)
async def test_a_threads_queue_mode_is_chosen_and_everybody_there_is_told(mode: QueueMode) -> None:
    """Q2: it is their messages that it is about."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        used = await alice.slash(thread_id, "queue mode", mode=mode.value)
        assert not used.ephemeral
        assert await used.told() == f"From now on: {mode}."
        assert chat.desk.calls == [("mode", thread_id, mode, alice.id, False)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_mode_that_was_not_accepted_is_told_to_the_asker_only() -> None:
    """Q2"""
    async with in_a_thread() as (chat, thread_id):
        chat.desk.refuses = True
        only_told(await chat.fd.user("alice").slash(thread_id, "queue mode", mode="steer"))


@pytest.mark.asyncio
@pytest.mark.parametrize("permissions", [PERMISSIONS["manage_guild"], ADMINISTRATOR])
async def test_the_servers_queue_mode_is_chosen_by_those_who_manage_the_server(permissions: int) -> None:
    """Q2, D2: in a channel as well as in a thread."""
    async with in_a_thread("bob") as (chat, _):
        bob = chat.fd.user("bob", roles=[chat.fd.add_role("mods", permissions)])
        used = await bob.slash(chat.fd.channel_id, "queue mode", mode="followup", everywhere=True)
        assert await used.told() == "From now on: followup."
        assert chat.desk.calls == [("mode", chat.fd.guild_id, QueueMode.FOLLOWUP, bob.id, True)]


@pytest.mark.asyncio
async def test_the_owner_of_weft_chooses_for_a_server_without_managing_it() -> None:
    """Q2, D2"""
    async with in_a_thread() as (chat, thread_id):
        operator = chat.fd.user("operator")
        await operator.slash(thread_id, "queue mode", mode="queue", everywhere=True)
        assert chat.desk.calls == [("mode", chat.fd.guild_id, QueueMode.QUEUE, operator.id, True)]


@pytest.mark.asyncio
async def test_others_choose_for_no_server_and_outside_threads_for_nothing() -> None:
    """Q2, D2"""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "queue mode", mode="queue", everywhere=True)) == NOT_FOR_SERVER
        for command, options in (("queue mode", {"mode": "queue"}), ("queue show", {}), ("queue clear", {})):
            assert only_told(await alice.slash(chat.fd.channel_id, command, **options)) == NOT_IN_THREAD
        assert only_told(await alice.slash(chat.fd.channel_id, "stop", what="all")) == NOT_IN_THREAD
        assert chat.desk.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["queue show", "queue clear", "queue mode"])
async def test_a_stranger_may_not_touch_the_queue(command: str) -> None:
    """D2: also not one who manages the server."""
    async with in_a_thread() as (chat, thread_id):
        mallory = chat.fd.user("mallory", roles=[chat.fd.add_role("mods", ADMINISTRATOR)])
        options = {"mode": "queue", "everywhere": True} if command.endswith("mode") else {}
        assert only_told(await mallory.slash(thread_id, command, **options)) == Reason.PERSON
        assert chat.desk.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "answer"), [("now", "It runs next."), ("drop", "Removed.")])
async def test_an_accepted_press_is_told_to_the_presser_and_the_notice_left_to_the_work(kind: str, answer: str) -> None:
    """Q5: by whoever may write there; the notice has buttons of others, too."""
    async with in_a_thread("bob") as (chat, thread_id):
        notice, bob = await waiting(chat, thread_id), chat.fd.user("bob")
        pressed = await bob.click(notice, f"weft:{kind}:{thread_id}:{PROMPT}")
        assert only_told(pressed) == answer
        assert chat.fd.message(notice.id) == notice
        call = {"now": "promote", "drop": "remove"}[kind]
        assert chat.desk.calls == [(call, thread_id, PROMPT, bob.id)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "answer"), [("now", "It runs next."), ("drop", "Removed."), ("go", "Going on.")])
async def test_a_press_without_effect_leaves_the_buttons(kind: str, answer: str) -> None:
    """Q5, R2: only its presser is told."""
    async with in_a_thread() as (chat, thread_id):
        chat.desk.refuses = True
        body = Body("notice", (send_now_button(thread_id, 1), remove_button(thread_id, 1), go_on_button(thread_id, 1)))
        notice = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        assert only_told(await chat.fd.user("alice").click(notice, f"weft:{kind}:{thread_id}:1")) == answer
        assert chat.fd.message(notice).components


@pytest.mark.asyncio
async def test_the_continue_button_vanishes_once_it_was_accepted() -> None:
    """R2: nobody presses it twice."""
    async with in_a_thread() as (chat, thread_id):
        body = Body("notice", (go_on_button(thread_id, 1),))
        notice = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        pressed = await chat.fd.user("alice").click(notice, f"weft:go:{thread_id}:1")
        assert await pressed.told() == "Going on."
        assert chat.fd.message(notice).components == []


@pytest.mark.asyncio
async def test_a_press_is_answered_even_where_the_message_cannot_be_changed() -> None:
    """R2, D6: what was done is told."""
    async with in_a_thread() as (chat, thread_id):
        body = Body("notice", (go_on_button(thread_id, 1),))
        notice = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        chat.fd.faults.next("POST", r"/callback$", Fault.status(400, 50083))
        pressed = await chat.fd.user("alice").click(notice, f"weft:go:{thread_id}:1")
        assert only_told(pressed) == "Going on."
        assert len(chat.desk.calls) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["now", "drop"])
async def test_the_buttons_act_in_their_own_thread_and_for_people_who_may(kind: str) -> None:
    """Q5, D2: the place that was judged is the place that is acted on."""
    async with in_a_thread() as (chat, thread_id):
        notice = await waiting(chat, thread_id, names=thread_id + 1)
        elsewhere = f"weft:{kind}:{thread_id + 1}:{PROMPT}"
        assert only_told(await chat.fd.user("alice").click(notice, elsewhere)) == EXPIRED
        assert only_told(await chat.fd.user("mallory").click(notice, elsewhere)) == Reason.PERSON
        assert chat.desk.calls == []
        assert chat.fd.message(notice.id).components == notice.components


def test_the_buttons_that_are_made_are_the_buttons_that_are_known() -> None:
    """Q5, R2"""
    made = (send_now_button(1, 2), remove_button(1, 2), go_on_button(1, 2))
    assert [button.label for button in made] == ["Send now", "Remove", "Continue"]
    assert all(is_known(button.custom_id) for button in made)
