"""Threads as the unmodified discord.py sees them, and what an archived or locked one refuses."""

import discord
import pytest

from bot.sandbox import ChannelType, FakeDiscord
from tests.bot.sandbox.client import Bot, connected
from tests.bot.sandbox.raw import raw_client

pytestmark = pytest.mark.asyncio


async def thread_of(fd: FakeDiscord, bot: Bot) -> discord.Thread:
    """A thread that the bot started from a user's message."""
    await fd.user("alice").say(fd.channel_id, "start")
    await bot.wait_until(lambda b: b.seen)
    return await bot.seen[0].create_thread(name="work")


async def test_a_thread_has_the_id_of_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await bot.wait_until(lambda b: "thread_create" in b.names())

        (stored,) = fd.threads()
        assert stored.id == thread.id == fd.messages(fd.channel_id)[0].id
        assert (stored.parent_id, stored.name, stored.archived, stored.locked) == (fd.channel_id, "work", False, False)
        assert thread.owner_id == fd.bot_user.id
        fd.assert_clean()


async def test_messages_of_a_thread_come_with_a_thread_as_their_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await fd.user("alice").say(thread.id, "inside")
        await bot.wait_until(lambda b: len(b.seen) == 2)

        assert isinstance(bot.seen[1].channel, discord.Thread)
        assert bot.seen[1].channel.parent_id == fd.channel_id


async def test_a_thread_started_by_a_user_is_seen_by_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "mine")
        await fd.start_thread(alice, said, "alice's")
        await bot.wait_until(lambda b: "thread_create" in b.names())

        guild = bot.get_guild(fd.guild_id)
        assert guild is not None
        assert [one.name for one in guild.threads] == ["alice's"]


async def test_a_second_thread_of_a_message_is_refused_with_160004(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await thread_of(fd, bot)
        with pytest.raises(discord.HTTPException) as caught:
            await bot.seen[0].create_thread(name="again")

        assert caught.value.code == 160004


async def test_an_edit_in_an_archived_thread_is_refused_with_50083(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        message = await thread.send("working")
        await fd.archive(thread.id)
        with pytest.raises(discord.HTTPException) as caught:
            await message.edit(content="done")
        with pytest.raises(discord.HTTPException) as reaction:
            await message.add_reaction("✅")

        assert (caught.value.code, reaction.value.code) == (50083, 50083)


async def test_sending_opens_an_archived_thread_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await thread.edit(archived=True)
        assert fd.threads()[0].archived

        await thread.send("more")
        assert not fd.threads()[0].archived


async def test_a_message_in_a_thread_out_of_the_cache_still_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await fd.archive(thread.id)
        await bot.wait_until(lambda b: "thread_update" in b.names())
        fd.gateway.hold_back = {"THREAD_UPDATE"}
        await fd.user("alice").say(thread.id, "wake up")
        await bot.wait_until(lambda b: len(b.seen) == 2)

        assert isinstance(bot.seen[1].channel, discord.PartialMessageable)
        fetched = await bot.fetch_channel(thread.id)
        assert isinstance(fetched, discord.Thread)
        assert not fetched.archived


async def test_a_locked_thread_refuses_messages_with_160005(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await fd.archive(thread.id, locked=True)
        with pytest.raises(discord.HTTPException) as caught:
            await thread.send("hello?")

        assert caught.value.code == 160005


async def test_archived_threads_are_listed_the_latest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        names = ["one", "two", "three"]
        for name in names:
            thread = await fd.start_thread(alice, await alice.say(fd.channel_id, name), name)
            await fd.archive(thread.id)
        await fd.unarchive(fd.threads()[2].id)
        channel = bot.get_channel(fd.channel_id)
        assert isinstance(channel, discord.TextChannel)

        assert [one.name async for one in channel.archived_threads()] == ["two", "one"]
        assert [one.name for one in await channel.guild.active_threads()] == ["three"]


async def test_a_deleted_thread_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await fd.delete_channel(thread.id)
        await bot.wait_until(lambda b: "thread_delete" in b.names())
        with pytest.raises(discord.NotFound) as caught:
            await thread.send("anyone?")

        assert caught.value.code == 10003
        assert fd.threads() == []


async def test_a_thread_without_a_message_and_a_forum_post(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        channel = bot.get_channel(fd.channel_id)
        assert isinstance(channel, discord.TextChannel)
        await channel.create_thread(name="alone", type=discord.ChannelType.public_thread)
        forum = await bot.fetch_channel(fd.add_channel("forum", ChannelType.FORUM))
        assert isinstance(forum, discord.ForumChannel)
        post = await forum.create_thread(name="post", content="first")

        assert [one.name for one in fd.threads()] == ["alone", "post"]
        assert [one.id for one in fd.messages(post.thread.id)] == [post.message.id]
        fd.assert_clean()


async def test_whoever_writes_in_a_thread_joins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        thread = await thread_of(fd, bot)
        await fd.user("bob").say(thread.id, "me too")
        members = await thread.fetch_members()
        await thread.add_user(discord.Object(fd.user("carol").id))

        assert {one.id for one in members} == {fd.bot_user.id, fd.user("bob").id}
        assert fd.user("carol").id in fd.thread(thread.id).member_ids


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
async def test_a_thread_name_outside_1_to_100_is_refused(name: str) -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        answer = await raw.thread(fd.channel_id, message.id, name)

        assert (answer.status, answer.code) == (400, 50035)
        assert "name" in answer.data["errors"]


async def test_an_odd_archive_time_is_refused() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)

        assert (await raw.thread(fd.channel_id, message.id, auto_archive_duration=90)).code == 50035


async def test_a_private_thread_tells_its_members_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice, eve = fd.user("alice"), fd.user("eve")
        made = await fd.start_private_thread(fd.owner, fd.channel_id, "secrets", alice)
        await bot.wait_until(lambda b: b.get_channel(made.id))
        thread = bot.get_channel(made.id)
        assert isinstance(thread, discord.Thread)
        assert thread.type is discord.ChannelType.private_thread
        assert (await thread.fetch_member(alice.id)).id == alice.id
        with pytest.raises(discord.NotFound) as missing:
            await thread.fetch_member(eve.id)
        assert missing.value.code == 10007


async def test_who_was_thrown_out_is_no_member_and_their_messages_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "bye")
        await bot.wait_until(lambda b: b.seen)
        fd.kick(alice)
        with pytest.raises(discord.NotFound) as missing:
            await bot.guilds[0].fetch_member(alice.id)
        assert missing.value.code == 10007
        channel = bot.get_channel(fd.channel_id)
        assert isinstance(channel, discord.TextChannel)
        assert (await channel.fetch_message(said.id)).author.id == alice.id
