"""Sessions, resumes and the faults of the gateway, with the unmodified discord.py at the other end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import discord
import pytest

from bot.sandbox import FakeDiscord
from tests.bot.sandbox.client import Bot, connected, default_intents, point_library, running

pytestmark = pytest.mark.asyncio


async def test_a_resume_replays_what_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        await fd.gateway.close(4000)
        for text in ("one", "two", "three"):
            await alice.say(fd.channel_id, text)
        await bot.wait_until(lambda b: len(b.seen) == 3)

        assert [one.content for one in bot.seen] == ["one", "two", "three"]
        assert (fd.gateway.identifies, fd.gateway.resumes) == (1, 1)
        await bot.wait_until(lambda b: "resumed" in b.names())


async def test_a_reconnect_request_is_followed_by_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, _bot):
        await fd.gateway.reconnect()
        with anyio.fail_after(30):
            await fd.ready.wait()

        assert (fd.gateway.identifies, fd.gateway.resumes) == (1, 1)


async def test_a_refused_resume_ends_in_a_new_session_without_the_missed_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def at_once(_client: discord.Client, _shard: int | None, *, initial: bool = False) -> None:
        return None

    monkeypatch.setattr(discord.Client, "before_identify_hook", at_once)
    async with connected(monkeypatch) as (fd, bot):
        fd.gateway.refuse_resume = True
        await fd.gateway.close(4000)
        await fd.user("alice").say(fd.channel_id, "missed")
        with anyio.fail_after(30):
            await fd.ready.wait()
        await fd.user("alice").say(fd.channel_id, "seen")
        await bot.wait_until(lambda b: b.seen)

        assert (fd.gateway.identifies, fd.gateway.resumes) == (2, 0)
        assert [one.content for one in bot.seen] == ["seen"]


async def test_an_invalidated_session_is_identified_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_client: discord.Client, _shard: int | None, *, initial: bool = False) -> None:
        return None

    monkeypatch.setattr(discord.Client, "before_identify_hook", at_once)
    async with connected(monkeypatch) as (fd, _bot):
        await fd.gateway.invalidate(resumable=False)
        with anyio.fail_after(30):
            await fd.ready.wait()

        assert fd.gateway.identifies == 2


async def test_an_outage_keeps_messages_and_ends_with_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord.backoff.ExponentialBackoff, "delay", lambda _self: 0.01)
    async with connected(monkeypatch) as (fd, bot):
        async with fd.gateway.outage():
            await bot.wait_until(lambda b: "disconnect" in b.names())
            assert not fd.ready.is_set()
            await fd.user("alice").say(fd.channel_id, "meanwhile")
        await bot.wait_until(lambda b: b.seen)

        assert bot.seen[0].content == "meanwhile"
        assert fd.gateway.identifies == 1


async def test_a_client_that_closes_with_1000_gives_up_its_session() -> None:
    async with FakeDiscord() as fd:
        async with socket(fd) as ws:
            await ws.send_json({"op": 2, "d": {"token": fd.token, "intents": 0}})
            assert (await ws.receive_json(timeout=30))["t"] == "READY"
            assert len(fd.gateway.sessions) == 1
            await ws.close(code=1000)
        await fd.wait_for(lambda f: not f.gateway.sessions)

        assert fd.gateway.close_codes == [1000]


async def test_a_restarted_bot_makes_ready_fire_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd):
            assert fd.ready.is_set()
        await fd.wait_for(lambda f: not f.gateway.connected)
        assert not fd.ready.is_set()
        async with running(Bot(), fd):
            assert fd.ready.is_set()

        assert fd.gateway.identifies == 2


async def test_a_bad_token_is_closed_with_4004(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, Bot() as bot:
        point_library(monkeypatch, fd)
        await bot.login(fd.token)
        bot.http.token = "sandbox.wrong"
        with pytest.raises(discord.ConnectionClosed) as caught:
            await bot.connect()

        assert caught.value.code == 4004


async def test_a_bad_token_is_refused_by_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, Bot() as bot:
        point_library(monkeypatch, fd)
        with pytest.raises(discord.LoginFailure):
            await bot.login("sandbox.wrong")


async def test_intents_that_were_not_granted_are_closed_with_4014(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, Bot(intents=discord.Intents.all()) as bot:
        point_library(monkeypatch, fd)
        await bot.login(fd.token)
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await bot.connect()


async def test_the_content_intent_can_be_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, Bot() as bot:
        point_library(monkeypatch, fd)
        fd.granted_intents &= ~discord.Intents.message_content.flag
        await bot.login(fd.token)
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await bot.connect()


async def test_members_are_found_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        guild = bot.get_guild(fd.guild_id)
        assert guild is not None
        assert guild.get_member(alice.id) is None
        (found,) = await guild.query_members(user_ids=[alice.id])

        assert found.name == "alice"


async def test_events_come_only_with_their_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    intents = default_intents()
    intents.guild_reactions = False
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(intents=intents), fd) as bot:
            said = await fd.user("alice").say(fd.channel_id, "one")
            await fd.user("alice").react(said, "👀")
            await fd.user("alice").say(fd.channel_id, "two")
            await bot.wait_until(lambda b: len(b.seen) == 2)

            assert "raw_reaction_add" not in bot.names()


async def test_a_silent_gateway_answers_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, socket(fd) as ws:
        await ws.send_json({"op": 1, "d": None})
        assert (await ws.receive_json())["op"] == 11
        fd.gateway.silent = True
        await ws.send_json({"op": 1, "d": None})
        await ws.send_json({"op": 2, "d": {"token": fd.token, "intents": 0}})

        assert (await ws.receive_json())["t"] == "READY"


async def test_an_event_can_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        fd.gateway.duplicate_next = 1
        said = await fd.user("alice").say(fd.channel_id, "twice")
        await fd.user("alice").say(fd.channel_id, "once")
        await bot.wait_until(lambda b: len(b.seen) == 3)

        assert [one.id == said.id for one in bot.seen] == [True, True, False]


async def test_a_malformed_event_ends_the_librarys_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd, Bot() as bot:
        point_library(monkeypatch, fd)
        await bot.login(fd.token)
        async with anyio.create_task_group() as tasks:

            async def break_it() -> None:
                await bot.was_ready.wait()
                await fd.gateway.dispatch_raw("MESSAGE_CREATE", {"id": "1"})

            tasks.start_soon(break_it)
            with anyio.fail_after(30), pytest.raises(KeyError):
                await bot.connect()


async def test_a_client_that_dies_can_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        async with socket(fd) as ws:
            await ws.send_json({"op": 2, "d": {"token": fd.token, "intents": 0}})
            session_id = (await ws.receive_json())["d"]["session_id"]
            transport = ws.get_extra_info("socket")
            assert transport is not None
            transport.shutdown(2)
        await fd.wait_for(lambda f: not f.gateway.connected)
        async with socket(fd) as ws:
            await ws.send_json({"op": 6, "d": {"token": fd.token, "session_id": session_id, "seq": 1}})

            assert (await ws.receive_json(timeout=30))["t"] == "RESUMED"


async def test_a_token_may_come_with_the_prefix_that_rest_wants() -> None:
    async with FakeDiscord() as fd:
        token = f"Bot {fd.token}"
        async with socket(fd) as ws:
            await ws.send_json({"op": 2, "d": {"token": token, "intents": 0}})
            session_id = (await ws.receive_json(timeout=30))["d"]["session_id"]
            await ws.close(code=4000)
        async with socket(fd) as ws:
            await ws.send_json({"op": 6, "d": {"token": token, "session_id": session_id, "seq": 1}})

            assert (await ws.receive_json(timeout=30))["t"] == "RESUMED"


async def test_the_first_connection_can_be_refused() -> None:
    async with FakeDiscord() as fd:
        fd.gateway.refuse_connections = 1
        with pytest.raises(aiohttp.ClientError):
            async with socket(fd):
                pass
        async with socket(fd) as ws:
            assert not ws.closed


@asynccontextmanager
async def socket(fd: FakeDiscord) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A raw connection that has read its HELLO."""
    async with aiohttp.ClientSession() as session, session.ws_connect(fd.gateway_url) as ws:
        assert (await ws.receive_json())["op"] == 10
        yield ws


FRAMES: list[tuple[Any, int]] = [
    ("{", 4002),
    ("[]", 4002),
    (json.dumps({"op": 1, "d": "x" * 4096}), 4002),
    (json.dumps({"op": 3, "d": {}}), 4003),
    (json.dumps({"op": 2, "d": {"token": "nope"}}), 4004),
]


@pytest.mark.parametrize(("frame", "code"), FRAMES)
async def test_a_frame_that_breaks_the_protocol_closes_with_its_code(frame: str, code: int) -> None:
    async with FakeDiscord() as fd, socket(fd) as ws:
        await ws.send_str(frame)
        message = await ws.receive(timeout=30)

        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)


async def test_unknown_intent_bits_close_with_4013_and_a_second_identify_with_4005() -> None:
    async with FakeDiscord() as fd:
        async with socket(fd) as ws:
            await ws.send_json({"op": 2, "d": {"token": fd.token, "intents": 1 << 40}})
            assert (await ws.receive(timeout=30)).data == 4013
        async with socket(fd) as ws:
            for _ in range(2):
                await ws.send_json({"op": 2, "d": {"token": fd.token, "intents": 0}})
            assert (await ws.receive_json(timeout=30))["t"] == "READY"
            assert (await ws.receive(timeout=30)).data == 4005


async def test_an_unknown_session_cannot_be_resumed() -> None:
    async with FakeDiscord() as fd, socket(fd) as ws:
        await ws.send_json({"op": 6, "d": {"token": fd.token, "session_id": "nope", "seq": 1}})

        assert await ws.receive_json(timeout=30) == {"op": 9, "d": False}


async def test_events_lost_are_lost_to_a_resume_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        with fd.gateway.losing():
            await alice.say(fd.channel_id, "lost")
        await fd.gateway.close(4000)
        await alice.say(fd.channel_id, "kept")
        await bot.wait_until(lambda b: b.seen)

        assert (fd.gateway.identifies, fd.gateway.resumes) == (1, 1)
        assert [one.content for one in bot.seen] == ["kept"]
        assert [one.content for one in fd.messages(fd.channel_id)] == ["lost", "kept"]


async def test_a_server_tells_the_newest_message_of_its_channels_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        alice = fd.user("alice")
        empty = fd.add_channel("empty")
        thread = await fd.start_thread(alice, await alice.say(fd.channel_id, "topic"), "topic")
        inside = await alice.say(thread.id, "inside")
        last = await alice.say(fd.channel_id, "last")
        await fd.delete_message(last.id)
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as bot:
            newest = {one.id: one.last_message_id for one in bot.guilds[0].text_channels}
            assert newest == {fd.channel_id: last.id, empty: None}
            assert [one.last_message_id for one in bot.guilds[0].threads] == [inside.id]
