"""``/new`` through a real client: what the work is asked and given, and what everybody sees."""

from __future__ import annotations

import pytest

from bot.chat.authorize import Policy, Reason
from bot.model import Actor
from bot.sandbox import FakeDiscord, Interaction
from bot.work.ports import Answer

from .harness import Office, office
from .test_interactions import in_a_thread, told

pytestmark = pytest.mark.asyncio


def seen(interaction: Interaction) -> tuple[int, str]:
    """Return the id and the text of what everybody was told, with no one notified."""
    assert interaction.acked
    assert not interaction.ephemeral
    assert interaction.original_id is not None
    assert interaction.response is not None
    assert interaction.response["allowed_mentions"]["parse"] == []
    return interaction.original_id, str(interaction.response["content"])


async def test_in_a_channel_it_opens_a_thread_from_its_answer_and_asks_there() -> None:
    """D1, O2: from its answer on, the prompt fares like a message."""
    async with in_a_thread() as (chat, _):
        alice = chat.fd.user("alice")
        command = await alice.slash(chat.fd.channel_id, "new", agent="codex", prompt="  mend *it*\nnow ")
        message_id, text = seen(command)
        assert text == "A new conversation.\n>>> mend *it*\nnow"
        inbound = await chat.desk.inbound(2)
        assert chat.desk.calls == [("renew", None, "codex", alice.id)] * 2 + [("assign", message_id, "codex")]
        assert (inbound.message_id, inbound.thread_id, inbound.channel_id) == (
            message_id,
            message_id,
            chat.fd.channel_id,
        )
        assert (inbound.author.id, inbound.text, inbound.title) == (alice.id, "mend *it*\nnow", "mend it")
        assert (inbound.opens_thread, inbound.parent_id) == (True, None)
        chat.fd.assert_clean()


async def test_in_a_channel_without_a_prompt_it_opens_a_thread_to_write_in() -> None:
    """D1: every message in it is a prompt, and none that is posted while Weft is away is lost."""
    async with in_a_thread() as (chat, _):
        alice = chat.fd.user("alice")
        message_id, text = seen(await alice.slash(chat.fd.channel_id, "new", agent="codex"))
        assert text == "A new conversation. Write in the thread what you want done."
        await chat.fd.wait_for(lambda fd: any(thread.id == message_id for thread in fd.threads()))
        (thread,) = (thread for thread in chat.fd.threads() if thread.id == message_id)
        assert (thread.name, len(chat.desk.inbounds)) == ("New conversation with codex", 1)
        said = await alice.say(message_id, "hello")
        inbound = await chat.desk.inbound(2)
        assert (inbound.message_id, inbound.thread_id, inbound.parent_id) == (said.id, message_id, chat.fd.channel_id)
        chat.fd.assert_clean()


async def test_a_thread_that_can_not_be_opened_is_told() -> None:
    """O1: nobody waits for a thread that does not come."""
    async with FakeDiscord() as fd, office(fd) as chat:
        fd.deny("create_public_threads", fd.channel_id)
        message_id, _ = seen(await fd.owner.slash(fd.channel_id, "new"))
        answer = "The thread could not be opened: I lack the permission Create Public Threads here (code 50013)"
        await fd.wait_for(lambda fd: any(one.content == answer for one in fd.messages(fd.channel_id)))
        assert [one.reference_id for one in fd.messages(fd.channel_id) if one.content == answer] == [message_id]
        assert chat.desk.inbounds == []


async def test_in_a_thread_it_begins_anew_there() -> None:
    """Q8: as a reset does, and everybody in the thread sees it."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert seen(await alice.slash(thread_id, "new", agent="codex"))[1] == "A new conversation."
        message_id, text = seen(await alice.slash(thread_id, "new", prompt="go on"))
        assert text == "A new conversation.\n>>> go on"
        asked = [("renew", thread_id, "codex", alice.id), ("renew", thread_id, None, alice.id)]
        assert [call for call in chat.desk.calls if call[1] is not None] == asked
        inbound = await chat.desk.inbound(2)
        assert (inbound.message_id, inbound.thread_id, inbound.channel_id) == (message_id, thread_id, thread_id)
        assert (inbound.text, inbound.opens_thread, inbound.parent_id) == ("go on", False, chat.fd.channel_id)
        chat.fd.assert_clean()


async def test_what_the_desk_refuses_is_told_to_the_person_alone_and_nothing_begins() -> None:
    """Q8: an agent that there is not, or a bot that stops."""
    async with in_a_thread() as (chat, _):
        chat.desk.refuses = True
        answer = await chat.fd.user("alice").slash(chat.fd.channel_id, "new", agent="nope", prompt="go")
        assert told(answer) == "No."
        assert [call[0] for call in chat.desk.calls] == ["renew"]
        assert len(chat.desk.inbounds) == 1


async def test_a_stranger_may_neither_use_it_nor_learn_which_agents_there_are() -> None:
    """D2"""
    async with in_a_thread() as (chat, thread_id):
        mallory = chat.fd.user("mallory")
        for place in (thread_id, chat.fd.channel_id):
            assert told(await mallory.slash(place, "new", prompt="go")) == Reason.PERSON
        assert await suggested(chat, "mallory", "") == []
        assert chat.desk.calls == []
        assert len(chat.desk.inbounds) == 1


async def suggested(chat: Office, name: str, typed: str) -> list[str]:
    shown = await chat.fd.user(name).autocomplete(chat.fd.channel_id, "new", "agent", typed)
    assert shown.response is not None
    return [choice["value"] for choice in shown.response["choices"]]


async def test_agents_are_suggested_by_what_was_typed() -> None:
    """D7"""
    async with in_a_thread() as (chat, _):
        assert await suggested(chat, "alice", "") == ["claude", "codex", "gemini"]
        assert await suggested(chat, "alice", "C") == ["claude", "codex"]
        assert await suggested(chat, "alice", "xyz") == []


async def test_a_long_prompt_is_shown_cut_and_asked_whole() -> None:
    """D4"""
    async with FakeDiscord() as fd, office(fd, Policy()) as chat:
        _, text = seen(await fd.owner.slash(fd.channel_id, "new", prompt="x" * 5000))
        assert (len(text), text[-1]) == (2000, "…")
        assert (await chat.desk.inbound()).text == "x" * 5000


async def test_a_prompt_that_is_asked_for_by_a_command_is_taken_once() -> None:
    """O1: Weft's own message comes by the gateway, too, and is no prompt there."""
    async with FakeDiscord() as fd, office(fd) as chat:
        await fd.owner.slash(fd.channel_id, "new", prompt="go")
        await chat.desk.inbound()
        await chat.settled(fd.channel_id)
        assert [one.text for one in chat.desk.inbounds] == ["go"]


async def test_a_bot_that_stops_between_its_answer_and_the_prompt_says_so() -> None:
    """O1, R1: the next run would not look for a message that is Weft's own."""
    async with FakeDiscord() as fd, office(fd) as chat:
        desk, renew = chat.desk, chat.desk.renew

        def once(thread_id: int | None, agent: str | None, by: Actor) -> Answer:
            answer = renew(thread_id, agent, by)
            desk.refuses = True
            return answer

        desk.renew = once  # type: ignore[method-assign]
        message_id, _ = seen(await fd.owner.slash(fd.channel_id, "new", agent="codex", prompt="go"))
        await fd.wait_for(lambda fd: any(one.reference_id == message_id for one in fd.messages(fd.channel_id)))
        assert fd.messages(fd.channel_id)[-1].content == "No."
        assert [call[0] for call in desk.calls] == ["renew", "renew"]
        assert desk.inbounds == []
