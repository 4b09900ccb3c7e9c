"""Forums and direct messages as the unmodified discord.py sees them."""

import discord
import pytest

from bot.sandbox import ChannelType
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.raw import raw_client

pytestmark = pytest.mark.asyncio


async def test_a_post_is_a_thread_with_its_first_message_and_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        forum_id = fd.add_channel("ideas", ChannelType.FORUM, tags=("bug", "idea"))
        await bot.wait_until(lambda b: "guild_channel_create" in b.names())
        forum = bot.get_channel(forum_id)
        assert isinstance(forum, discord.ForumChannel)
        made = await forum.create_thread(name="mine", content="first", applied_tags=[forum.available_tags[1]])
        await made.thread.edit(applied_tags=[forum.available_tags[0]])
        theirs = await fd.start_post(fd.user("alice"), forum_id, "hers", "it breaks", tags=["bug", "idea"])
        await bot.wait_until(lambda b: b.seen)

        assert made.message.id == made.thread.id
        assert [one.content for one in fd.messages(made.thread.id)] == ["first"]
        assert fd.thread(made.thread.id).applied_tags == (forum.available_tags[0].id,)
        post = bot.seen[0].channel
        assert isinstance(post, discord.Thread)
        assert (post.id, post.parent_id, bot.seen[0].id) == (theirs.id, forum_id, theirs.id)
        assert [one.name for one in post.applied_tags] == ["bug", "idea"]
        assert bot.seen[0].content == "it breaks"


async def test_a_forum_s_tags_are_changed_and_only_its_own_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        forum = await bot.fetch_channel(fd.add_channel("ideas", ChannelType.FORUM, tags=("bug",)))
        assert isinstance(forum, discord.ForumChannel)
        await forum.create_tag(name="idea")
        foreign = discord.ForumTag(name="elsewhere")
        foreign.id = 1
        with pytest.raises(discord.HTTPException) as caught:
            await forum.create_thread(name="x", content="x", applied_tags=[foreign])

        assert [one.name for one in fd.thread(forum.id).tags] == ["bug", "idea"]
        assert caught.value.code == 50035
        assert fd.threads() == []


async def test_a_message_without_a_thread_is_refused_in_a_forum() -> None:
    async with raw_client() as (fd, raw):
        assert (await raw.post(fd.add_channel("ideas", ChannelType.FORUM))).code == 50024


async def test_direct_messages_go_both_ways_whoever_began(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice, bob = fd.user("alice"), fd.user("bob")
        await alice.say(fd.open_dm(alice), "psst")
        await bot.wait_until(lambda b: b.seen)
        await bot.seen[0].reply("yes?")
        await (await bot.fetch_user(bob.id)).send("hello bob")

        assert isinstance(bot.seen[0].channel, discord.DMChannel)
        assert [one.content for one in fd.messages(fd.open_dm(alice))] == ["psst", "yes?"]
        assert [one.content for one in fd.messages(fd.open_dm(bob))] == ["hello bob"]
