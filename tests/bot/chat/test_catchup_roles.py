"""Who is heard for what was posted while nobody listened: history does not tell roles, so they are looked up."""

from __future__ import annotations

import pytest

from bot.chat.authorize import Policy
from bot.sandbox import FakeDiscord, Fault
from tests.bot.chat.harness import running_chat
from tests.bot.chat.test_catchup import open_thread, texts, with_thread

pytestmark = pytest.mark.usefixtures("no_pause_before_identify")


@pytest.mark.asyncio
async def test_somebody_not_allowed_gets_nothing_for_an_old_message() -> None:
    """D2, D1: the same decision as live, but neither refusal nor help comes late."""
    async with with_thread() as (chat, thread_id):
        fd = chat.fd
        async with chat.gap():
            await fd.user("mallory").say(fd.channel_id, "let me in", mention_bot=True)
            await fd.user("mallory").say(thread_id, "me too")
            await fd.owner.say(fd.channel_id, f"<@{fd.bot_user.id}>")
        await chat.settled(fd.channel_id)
        assert texts(chat.dispatcher) == ["start"]
        assert [one for one in fd.messages(fd.channel_id) if one.author_id == fd.bot_user.id] == []


@pytest.mark.asyncio
async def test_roles_are_looked_up_once_for_each_person_and_only_where_they_matter() -> None:
    """D2: a channel's history does not tell roles."""
    async with FakeDiscord() as fd:
        devs = fd.add_role("devs")
        alice, mallory = fd.user("alice", roles=[devs]), fd.user("mallory")
        async with running_chat(fd, Policy(roles=frozenset({devs}))) as chat:
            await chat.caught_up()
            thread_id = await open_thread(chat)
            async with chat.gap():
                await fd.owner.say(thread_id, "by the owner")
                await alice.say(thread_id, "first")
                await alice.say(thread_id, "second")
                await alice.say(thread_id, "// an aside")
                await mallory.say(thread_id, "me too")
                await fd.user("bob").say(fd.channel_id, "no mention")
            assert texts(chat.dispatcher)[1:] == ["by the owner", "first", "second"]
            assert chat.dispatcher.inbounds[-1].author.roles == {devs, fd.guild_id}
            members = [call.path.split("/")[-1] for call in fd.rest_calls("GET", "/members/")]
            assert sorted(members) == sorted([str(alice.id), str(mallory.id)])


@pytest.mark.asyncio
async def test_somebody_whose_roles_can_not_be_looked_up_is_not_allowed() -> None:
    """D2: closed by default; others are not held up."""
    async with FakeDiscord() as fd:
        devs = fd.add_role("devs")
        async with running_chat(fd, Policy(roles=frozenset({devs}))) as chat:
            await chat.caught_up()
            thread_id = await open_thread(chat)
            fd.faults.next("GET", "/members/", Fault.status(404, 10007))
            async with chat.gap():
                await fd.user("alice", roles=[devs]).say(thread_id, "who am I?")
                await fd.owner.say(thread_id, "by the owner")
            assert texts(chat.dispatcher)[1:] == ["by the owner"]


@pytest.mark.asyncio
async def test_somebody_whose_roles_discord_does_not_tell_just_now_is_heard_later() -> None:
    """D2, R2: that is no word on who they are."""
    async with FakeDiscord() as fd:
        devs = fd.add_role("devs")
        async with running_chat(fd, Policy(roles=frozenset({devs}))) as chat:
            await chat.caught_up()
            thread_id = await open_thread(chat)
            fd.faults.next("GET", "/members/", Fault.rate_limited(1, via=False))
            async with chat.gap():
                await fd.user("alice", roles=[devs]).say(thread_id, "who am I?")
            assert texts(chat.dispatcher)[1:] == []
            async with chat.gap():
                pass
            assert texts(chat.dispatcher)[1:] == ["who am I?"]
