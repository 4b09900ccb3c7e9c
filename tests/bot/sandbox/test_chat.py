"""Messages and threads as the unmodified discord.py sees them."""

import io

import aiohttp
import discord
import pytest

from bot.sandbox import FakeDiscord
from tests.bot.sandbox.client import Bot, connected, default_intents, point_library, running

pytestmark = pytest.mark.asyncio


def general(fd: FakeDiscord, bot: Bot) -> discord.TextChannel:
    channel = bot.get_channel(fd.channel_id)
    assert isinstance(channel, discord.TextChannel)
    return channel


async def test_the_library_logs_in_and_answers_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(message: discord.Message) -> None:
        await message.reply(f"you said {message.content}")

    async with connected(monkeypatch, answer) as (fd, bot):
        said = await fd.user("alice").say(fd.channel_id, "hello")
        reply = await fd.wait_message(fd.channel_id, lambda m: m.author_id == fd.bot_user.id)

        assert bot.user is not None
        assert bot.user.id == fd.bot_user.id
        assert reply.content == "you said hello"
        assert reply.reference_id == said.id
        assert isinstance(bot.seen[0].author, discord.Member)
        fd.assert_clean()


async def test_the_application_names_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        info = await bot.application_info()

        assert info.owner.id == fd.owner.id
        assert info.id == fd.application_id


async def test_the_gateway_address_is_asked_for_without_a_token() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session, session.get(fd.api_url + "/gateway") as answer:
        assert await answer.json() == {"url": fd.gateway_url}
        assert answer.headers["Content-Type"] == "application/json"


async def test_a_mention_of_the_bot_is_in_the_messages_mentions(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice", roles=[fd.add_role("devs")])
        await alice.say(fd.channel_id, "do it", mention_bot=True)
        await alice.say(fd.channel_id, f"and you <@{fd.bot_user.id}>")
        await alice.say(fd.channel_id, "not you")
        await bot.wait_until(lambda b: len(b.seen) == 3)

        assert bot.user is not None
        assert [bot.user.mentioned_in(one) for one in bot.seen] == [True, True, False]
        author = bot.seen[0].author
        assert isinstance(author, discord.Member)
        assert [role.name for role in author.roles] == ["@everyone", "devs"]


async def test_a_message_keeps_the_timeline_of_its_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        message = await general(fd, bot).send("one")
        await message.edit(content="one two")
        await message.edit(content="one two three")

        timeline = fd.timeline(message.id)
        assert [text for _, text in timeline] == ["one", "one two", "one two three"]
        assert sorted(at for at, _ in timeline) == [at for at, _ in timeline]
        assert fd.messages(fd.channel_id)[0].content == "one two three"
        await bot.wait_until(lambda b: b.names().count("message_edit") == 2)
        fd.assert_clean()


async def test_a_user_edits_and_deletes_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "frist")
        await alice.edit(said, "first")
        await bot.wait_until(lambda b: "message_edit" in b.names())
        await alice.delete(said)
        await bot.wait_until(lambda b: "message_delete" in b.names())

        before, after = next(args for name, args in bot.events if name == "message_edit")
        assert (before.content, after.content) == ("frist", "first")
        assert fd.messages(fd.channel_id) == []


async def test_reactions_of_both_sides_are_kept_by_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "hello")
        await bot.wait_until(lambda b: b.seen)
        await bot.seen[0].add_reaction("👀")
        await alice.react(said, "👀")
        await bot.wait_until(lambda b: b.names().count("raw_reaction_add") == 2)
        assert bot.user is not None
        await bot.seen[0].remove_reaction("👀", bot.user)

        (message,) = fd.messages(fd.channel_id)
        assert message.reactions == {"👀": {alice.id}}
        fd.assert_clean()


async def test_files_go_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await general(fd, bot).send("log", file=discord.File(io.BytesIO(b"a\nb\n"), "out.txt"))
        await fd.user("alice").say(fd.channel_id, "see", files=[("pic.png", b"\x89PNG")])
        await bot.wait_until(lambda b: b.seen)

        (uploaded,) = fd.messages(fd.channel_id)[0].attachments
        assert (uploaded.name, uploaded.content) == ("out.txt", b"a\nb\n")
        (received,) = bot.seen[0].attachments
        assert received.content_type == "image/png"
        async with aiohttp.ClientSession() as session, session.get(received.url) as response:
            assert await response.read() == b"\x89PNG"


async def test_the_address_of_a_file_is_good_for_a_day_and_only_with_its_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_700_000_000.0
    async with connected(monkeypatch, wall=lambda: now) as (fd, bot), aiohttp.ClientSession() as session:
        sent = await general(fd, bot).send("log", file=discord.File(io.BytesIO(b"a\nb\n"), "out.txt"))
        url = sent.attachments[0].url
        statuses = []
        for address in (url, url.split("?")[0], url.replace("ex=", "ex=1")):
            async with session.get(address) as response:
                statuses.append(response.status)
        now += 24 * 60 * 60
        async with session.get(url) as response:
            statuses.append(response.status)
        again = await general(fd, bot).fetch_message(sent.id)

        assert statuses == [200, 404, 404, 404]
        assert await again.attachments[0].read() == b"a\nb\n"


async def test_an_edit_adds_a_file_and_keeps_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        message = await general(fd, bot).send("log", file=discord.File(io.BytesIO(b"1"), "one.txt"))
        await message.add_files(discord.File(io.BytesIO(b"2"), "two.txt"))

        files = fd.messages(fd.channel_id)[0].attachments
        assert [(one.name, one.content) for one in files] == [("one.txt", b"1"), ("two.txt", b"2")]


async def test_history_after_an_id_comes_in_order_over_several_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        first = await alice.say(fd.channel_id, "0")
        for number in range(1, 131):
            await alice.say(fd.channel_id, str(number))

        after = discord.Object(first.id)
        texts = [one.content async for one in general(fd, bot).history(after=after, limit=None, oldest_first=True)]
        assert texts == [str(number) for number in range(1, 131)]


async def test_without_the_content_intent_only_mentions_have_text(monkeypatch: pytest.MonkeyPatch) -> None:
    intents = default_intents()
    intents.message_content = False
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(intents=intents), fd) as bot:
            await fd.user("alice").say(fd.channel_id, "secret")
            await fd.user("alice").say(fd.channel_id, "for you", mention_bot=True)
            await bot.wait_until(lambda b: len(b.seen) == 2)

            assert bot.seen[0].content == ""
            assert bot.seen[1].content.endswith("for you")


async def test_a_direct_message_reaches_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        dm = await (await bot.fetch_user(alice.id)).create_dm()
        await alice.say(dm.id, "psst")
        await bot.wait_until(lambda b: b.seen)

        assert isinstance(bot.seen[0].channel, discord.DMChannel)
        assert bot.seen[0].content == "psst"


async def test_a_wait_for_a_message_takes_states_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        said = await alice.say(fd.channel_id, "old")
        await alice.edit(said, "new")

        assert (await fd.wait_message(fd.channel_id, lambda m: m.content == "old")).id == said.id
        with pytest.raises(TimeoutError):
            await fd.wait_message(fd.channel_id, lambda m: m.content == "never", timeout=0.01)


async def test_a_preview_is_an_update_but_no_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        said = await fd.user("alice").say(fd.channel_id, "see https://example.org")
        await fd.unfurl(said.id)
        await bot.wait_until(lambda b: "raw_message_edit" in b.names())

        updated = next(args[0].message for name, args in bot.events if name == "raw_message_edit")
        assert (updated.id, updated.content, len(updated.embeds)) == (said.id, said.content, 1)
        assert updated.edited_at is None


async def test_many_messages_are_deleted_in_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        ids = [(await fd.user("alice").say(fd.channel_id, text)).id for text in ("one", "two", "three")]
        await fd.delete_messages(fd.channel_id, ids[:2])
        await bot.wait_until(lambda b: "raw_bulk_message_delete" in b.names())

        told = next(args[0] for name, args in bot.events if name == "raw_bulk_message_delete")
        assert (told.channel_id, told.message_ids) == (fd.channel_id, set(ids[:2]))
        assert [one.id for one in fd.messages(fd.channel_id)] == ids[2:]
