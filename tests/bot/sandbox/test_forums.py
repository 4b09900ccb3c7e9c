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


async def test_whoever_may_not_manage_threads_sets_no_moderated_tag_and_none_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(monkeypatch) as (fd, bot):
        forum_id = fd.add_channel("ideas", ChannelType.FORUM, tags=("idea",), moderated=("done",))
        theirs = await fd.start_post(fd.user("alice"), forum_id, "hers", "it breaks")
        forum = await bot.fetch_channel(forum_id)
        assert isinstance(forum, discord.ForumChannel)
        idea, done = forum.available_tags
        assert (idea.moderated, done.moderated) == (False, True)
        mine = (await forum.create_thread(name="mine", content="first")).thread
        post = await bot.fetch_channel(theirs.id)
        assert isinstance(post, discord.Thread)
        await post.edit(applied_tags=[done])
        fd.deny("manage_threads", forum_id)
        await mine.edit(applied_tags=[idea])
        for thread, tags in ((mine, [idea, done]), (post, [idea, done])):
            with pytest.raises(discord.Forbidden) as caught:
                await thread.edit(applied_tags=tags)
            assert caught.value.code == 50013

        assert (fd.tags(mine.id), fd.tags(post.id)) == (["idea"], ["done"])
        await fd.tag(mine.id, "done")
        assert fd.tags(mine.id) == ["done"]


async def test_another_name_of_a_thread_is_told_in_it_in_the_name_of_who_gave_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "start")
        await bot.wait_until(lambda b: b.seen)
        thread = await bot.seen[0].create_thread(name="work")
        await thread.edit(name="more work @everyone")
        await thread.edit(name="more work @everyone", auto_archive_duration=60)
        await fd.rename(alice, said.id, "no work")
        await bot.wait_until(lambda b: len(b.seen) == 2)

        told = [(one.author_id, one.content) for one in fd.messages(said.id)]
        assert told == [(fd.bot_user.id, "more work @everyone"), (alice.id, "no work")]
        assert not any(one.mention_everyone for one in fd.messages(said.id))  # a name calls nobody
        assert bot.seen[1].type is discord.MessageType.channel_name_change
        fd.assert_clean()
