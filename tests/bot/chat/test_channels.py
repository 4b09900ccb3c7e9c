"""Threads from outside, by the real client on the loopback Discord: what stands above them, and who sees them."""

from __future__ import annotations

import anyio
import pytest

from bot.reply.port import ThreadDeleted, ThreadGone
from bot.sandbox import ChannelType, FakeDiscord
from bot.work.ports import ThreadHeader
from tests.bot.chat.harness import RunningChat, running_chat

pytestmark = pytest.mark.asyncio


async def cached(chat: RunningChat, thread_id: int, *, there: bool = True) -> None:
    """Wait until the client's cache has a thread, or has it no more."""
    with anyio.fail_after(30):
        while (chat.gateway.current().get_channel(thread_id) is not None) is not there:  # noqa: ASYNC110  the cache tells nobody
            await anyio.sleep(0.005)


async def test_what_stands_above_a_thread_is_read_from_the_cache_or_asked_of_discord() -> None:
    """S5, S6: tags by their names in lower case; of two that differ in case only the first."""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        channels = chat.gateway.chat.channels
        forum_id = fd.add_channel("ideas", ChannelType.FORUM, tags=("bug", "Needs You"), moderated=("BUG",))
        post = await fd.start_post(fd.user("alice"), forum_id, "it breaks", "help", tags=["bug"])
        bug, needs_you, _ = (tag.id for tag in fd.thread(forum_id).tags)
        await cached(chat, post.id)
        shown = ThreadHeader(
            "it breaks", own=False, open=True, tags=(bug,), choices={"bug": bug, "needs you": needs_you}
        )
        assert await channels.header(post.id) == shown
        assert fd.rest_calls("GET", f"/channels/{post.id}") == []
        await channels.change_header(post.id, name=None, tags=[bug, needs_you])
        assert fd.tags(post.id) == ["bug", "Needs You"]
        assert [call.body for call in fd.rest_calls("PATCH")] == [{"applied_tags": [str(bug), str(needs_you)]}]
        # Out of the cache: archived.
        await fd.archive(post.id)
        await cached(chat, post.id, there=False)
        header = await channels.header(post.id)
        assert (header.name, header.own, header.open) == ("it breaks", False, False)
        assert (header.tags, header.choices) == ((bug, needs_you), shown.choices)
        assert not (await channels.header(fd.channel_id)).open
        await fd.delete_channel(post.id)
        with pytest.raises(ThreadDeleted):
            await channels.header(post.id)


async def test_a_name_goes_out_without_secrets_and_one_that_is_forbidden_is_told() -> None:
    """S5, R5"""
    async with FakeDiscord() as fd, running_chat(fd, secrets=("hunter2hunter2",)) as chat:
        said = await fd.owner.say(fd.channel_id, "start", mention_bot=True)
        channels = chat.gateway.chat.channels
        theirs = await fd.start_thread(fd.user("alice"), said, "hers")
        fd.deny("manage_threads", fd.channel_id)
        with pytest.raises(ThreadGone):
            await channels.change_header(theirs.id, name="mine", tags=None)
        fd.allow("manage_threads", fd.channel_id)
        await channels.change_header(theirs.id, name="say hunter2hunter2", tags=None)
        assert "hunter2" not in fd.thread(theirs.id).name
        assert fd.thread(theirs.id).name.startswith("say ")


async def test_a_thread_is_seen_by_all_who_see_a_channel_if_that_is_certain() -> None:
    """A3: private threads never, other channels if they are open to all or have the same overwrites."""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        alice = fd.user("alice")
        staff = fd.add_role("staff")
        places = {name: fd.add_channel(name) for name in ("open", "closed", "same", "except")}
        fd.overwrite(places["closed"], fd.guild_id, deny=["view_channel"])
        fd.overwrite(places["closed"], staff, allow=["view_channel"])
        fd.overwrite(places["same"], fd.guild_id, deny=["view_channel"], allow=["send_messages"])
        fd.overwrite(places["same"], staff, allow=["view_channel"])
        fd.overwrite(places["except"], alice.id, deny=["view_channel"])
        threads = {}
        for name, place in places.items():
            threads[name] = (await fd.start_thread(fd.owner, await fd.owner.say(place, "x"), name)).id
        private = (await fd.start_private_thread(alice, places["open"], "private")).id
        for thread_id in (*threads.values(), private):
            await cached(chat, thread_id)
        seen = chat.gateway.chat.channels.seen_by_all
        found = {(name, where) for name in threads for where in places if seen(threads[name], places[where])}
        own = {(name, name) for name in places}
        assert found == own | {("open", where) for where in places} | {("closed", "same"), ("same", "closed")}
        assert not any(seen(private, place) for place in places.values())
        assert not seen(1, places["open"])
        assert not seen(threads["open"], 1)
        await fd.archive(threads["open"])
        await cached(chat, threads["open"], there=False)
        assert not seen(threads["open"], places["open"])
