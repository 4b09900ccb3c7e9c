"""The gateway of people's clients: what each is told, and that the bot's troubles are none of theirs."""

import discord
import pytest

from bot.sandbox import ChannelType, FakeDiscord, gateway
from tests.bot.sandbox.client import Bot, connected, point_library, running
from tests.bot.sandbox.person import client_of

pytestmark = pytest.mark.asyncio


async def test_ready_and_guild_create_show_what_the_person_sees() -> None:
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        topic = await fd.start_thread(alice, await alice.say(fd.channel_id, "topic"), "topic")
        await fd.start_private_thread(fd.owner, fd.channel_id, "private")
        await fd.start_thread(fd.owner, await fd.owner.say(hidden, "x"), "hidden thread")
        dm = fd.open_dm(alice)
        fd.edit_role(fd.guild_id, "view_channel", "read_message_history")
        async with client_of(fd, alice) as client:
            guild = await client.event("GUILD_CREATE")
        _, ready = client.events[0]

        assert ready["user"]["id"] == str(alice.id)
        assert [one["id"] for one in ready["private_channels"]] == [str(dm)]
        assert [one["id"] for one in ready["private_channels"][0]["recipients"]] == [str(fd.bot_user.id)]
        assert [one["name"] for one in guild["channels"]] == ["general"]
        assert [one["id"] for one in guild["threads"]] == [str(topic.id)]
        assert guild["threads"][0]["member"]["user_id"] == str(alice.id)
        assert {one["user"]["username"] for one in guild["members"]} == {"Weft", "owner", "alice"}


async def test_each_person_is_told_of_their_own_places_in_their_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        bob, staff = fd.user("bob"), fd.add_role("staff")
        alice = fd.user("alice", [staff])
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        fd.overwrite(hidden, staff, allow=["view_channel"])
        async with client_of(fd, alice) as hers, client_of(fd, bob) as his:
            secret = await hers.post(hidden, "secret")
            shown = await his.post(fd.channel_id, "shown")
            await bob.react(shown.id, "👀")
            await fd.owner.edit(await fd.owner.say(fd.channel_id, "a"), "b")
            await fd.delete_message(secret.id)
            assert "MESSAGE_DELETE" in await hers.names_until(fd, "1")
            names = await his.names_until(fd, "1")
            assert names.count("MESSAGE_CREATE") == 2
            assert "MESSAGE_DELETE" not in names
            assert not [1 for _, data in his.events if "secret" in str(data)]

            bob_message = fd.message(shown.id)
            channel = bot.get_channel(fd.channel_id)
            assert isinstance(channel, discord.TextChannel)
            thread = await channel.get_partial_message(shown.id).create_thread(name="topic")
            for client, own in ((hers, False), (his, True)):
                update = await client.event("MESSAGE_UPDATE", lambda data: data["id"] == str(bob_message.id))
                assert [one["me"] for one in update["reactions"]] == [own]
                assert "member" not in update["thread"]
            assert thread.me is not None


async def test_places_appear_and_vanish_with_the_right_to_see_them() -> None:
    async with FakeDiscord() as fd:
        alice, staff = fd.user("alice"), fd.add_role("staff")
        hidden = fd.add_channel("hidden", ChannelType.TEXT)
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        fd.overwrite(hidden, staff, allow=["view_channel"])
        inner = await fd.start_thread(fd.owner, await fd.owner.say(hidden, "x"), "inner")
        fd.edit_role(fd.guild_id, "view_channel", "send_messages", "read_message_history")
        async with client_of(fd, alice) as client:
            await client.event("GUILD_CREATE")
            fd.user("alice", [staff])
            assert await client.names_until(fd, "1") == ["CHANNEL_CREATE", "THREAD_CREATE", "GUILD_MEMBER_UPDATE"]
            assert client.events[-3][1]["id"] == str(inner.id)
            fd.overwrite(hidden, staff)
            assert await client.names_until(fd, "2") == ["CHANNEL_DELETE", "THREAD_DELETE"]
            await fd.owner.say(hidden, "unheard")
            fd.add_channel("new")
            fd.user("bob")
            assert await client.names_until(fd, "3") == ["CHANNEL_CREATE", "GUILD_MEMBER_ADD"]
            await fd.start_private_thread(fd.owner, fd.channel_id, "private", alice)
            assert (await client.names_until(fd, "4")).count("THREAD_CREATE") == 1
            fd.open_dm(alice)
            assert (await client.event("CHANNEL_CREATE"))["type"] == ChannelType.DM
            fd.kick(alice)
            await client.event("GUILD_DELETE")
            await fd.owner.say(fd.channel_id, "unheard")
            assert await client.names_until(fd, "5") == []
            fd.user("alice", [staff])
            assert len((await client.event("GUILD_CREATE"))["channels"]) == 2


async def test_the_bots_troubles_are_none_of_the_people_and_theirs_none_of_the_bots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner:
        point_library(monkeypatch, fd)
        assert not fd.ready.is_set()
        async with running(Bot(), fd) as bot:
            assert fd.gateway.identifies == 1
            await fd.gateway.dispatch_raw("NONSENSE", {})
            await fd.gateway.reconnect()
            await bot.wait_until(lambda b: "resumed" in b.names())
            async with fd.gateway.outage():
                await owner.post(fd.channel_id, "still here")
                await owner.event("MESSAGE_CREATE")
            with fd.gateway.losing():
                await owner.post(fd.channel_id, "and here")
                await owner.event("MESSAGE_CREATE")
            await bot.wait_until(lambda b: b.names().count("resumed") == 2, timeout=30)
            await owner.close(4000)
            assert fd.gateway.connected
        assert {name for name, _ in owner.events} == {"READY", "GUILD_CREATE", "MESSAGE_CREATE"}
        assert [one.content for one in bot.seen] == ["still here"]


async def test_a_client_that_comes_back_gets_what_it_missed_or_begins_anew() -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner:
        await owner.event("GUILD_CREATE")
        await owner.close(4000)
        await fd.owner.say(fd.channel_id, "missed")
        await owner.connect(resume=True)
        assert (await owner.event("MESSAGE_CREATE"))["content"] == "missed"
        await owner.event("RESUMED")
        await owner.close(1000)
        await owner.connect(resume=True)
        assert await owner.frame() == {"op": 9, "d": False}
        async with client_of(fd, fd.user("alice")) as alice:
            owner.token, owner.session_id = alice.token, alice.session_id
            owner.token = fd.token_of(fd.user("bob"))
            await owner.connect(resume=True)
            assert await owner.frame() == {"op": 9, "d": False}


async def test_a_client_that_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "FRAMES_WAITING", 20)
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner, client_of(fd, fd.user("eve")) as eve:
        for _ in range(200):  # some of it is held by the two sockets
            fd.gateway.people.tell("MARK", {"mark": "m" * 100_000})
            await owner.event("MARK")
        assert await eve.rest() < 200
        await eve.connect()


async def test_a_frame_that_makes_no_sense_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What a person asks for is answered, refused or left alone; the server has no fault of its own over it."""
    async with FakeDiscord() as fd, client_of(fd, fd.user("eve")) as eve:
        given: list[object] = [["x"], [{}], {"a": 1}, ["\u00b2"], -1, str(eve.person.id)]
        for ids in given:
            await eve.send({"op": 8, "d": {"user_ids": ids}})
        found = [(await eve.event("GUILD_MEMBERS_CHUNK"))["members"] for _ in range(6)]
        assert [len(one) for one in found] == [0, 0, 0, 0, 0, 1]
        fd.kick(eve.person)
        await eve.send({"op": 8, "d": {"query": ""}})
        await eve.event("GUILD_DELETE")
        assert "GUILD_MEMBERS_CHUNK" not in await eve.names_until(fd, "kicked")
    assert caplog.records == []
