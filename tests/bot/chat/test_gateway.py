"""The connection over the lives of its clients: start, faults that heal, faults that don't, and the end."""

from __future__ import annotations

import dataclasses
import threading

import anyio
import discord
import pytest
from discord.gateway import KeepAliveHandler

from bot.chat.authorize import Policy
from bot.chat.client import WeftClient
from bot.chat.gateway import ChatConfig, ChatConfigError
from bot.model import Actor, Lane
from bot.reply.port import Body, Unavailable
from bot.sandbox import FakeDiscord, Fault
from bot.sandbox.model import Intents
from tests.bot.chat.harness import (
    QUICK,
    FakeDispatcher,
    MemoryStamp,
    config_for,
    discords_address_kept,
    make_gateway,
    running_chat,
)
from tests.bot.work.samples import inbound


async def ending(config: ChatConfig) -> None:
    """Run a gateway to its end."""
    async with discords_address_kept():
        with anyio.fail_after(30):
            await make_gateway(config).run(FakeDispatcher())


@pytest.mark.asyncio
async def test_a_wrong_token_is_a_configuration_error_at_once() -> None:
    """R3: exit 78: a restart can't heal it; the token is in no message."""
    async with FakeDiscord() as fd:
        with pytest.raises(ChatConfigError, match="DISCORD_TOKEN") as caught:
            await ending(config_for(fd, token="sandbox.wrong"))
        assert "sandbox.wrong" not in str(caught.value)
        assert len(fd.rest_calls("GET", "/users/@me")) == 1


@pytest.mark.asyncio
async def test_missing_intents_are_a_configuration_error() -> None:
    """R3: says which switch in the portal."""
    async with FakeDiscord() as fd:
        fd.granted_intents = int(Intents.GUILDS | Intents.GUILD_MESSAGES)
        with pytest.raises(ChatConfigError, match="Message Content"):
            await ending(config_for(fd))


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013, 4014])
async def test_a_close_that_no_reconnection_heals_is_a_configuration_error(code: int) -> None:
    """R3: also when it comes in the middle, for example when the token is reset."""
    async with FakeDiscord() as fd, discords_address_kept():
        gateway = make_gateway(config_for(fd))
        raised: list[ChatConfigError] = []

        async def run() -> None:
            try:
                await gateway.run(FakeDispatcher())
            except ChatConfigError as exc:
                raised.append(exc)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await gateway.ready.wait()
                await fd.gateway.close(code)
        assert len(raised) == 1


@pytest.mark.asyncio
async def test_a_login_that_fails_for_a_moment_is_tried_again_with_a_new_client() -> None:
    """R3: Discord can't be reached at the start: no crash, no burnt restart."""
    async with FakeDiscord() as fd:
        fd.faults.next("GET", "/users/@me", Fault.RESET_BEFORE, times=2)
        fd.faults.next("GET", "/users/@me", Fault.status(503))
        fd.faults.next("GET", "/gateway", Fault.status(503))
        async with running_chat(fd, Policy()) as chat:
            await fd.owner.say(fd.channel_id, "hello", mention_bot=True)
            assert (await chat.dispatcher.inbound()).text == "hello"
        assert len(fd.rest_calls("GET", "/users/@me")) == 4


@pytest.mark.asyncio
async def test_a_gateway_that_refuses_the_first_connection_is_tried_again() -> None:
    """R3: discord.py ends with an AttributeError then; a new client takes over."""
    async with FakeDiscord() as fd, running_chat(fd, wait=False) as chat:
        async with fd.gateway.outage():
            await fd.wait_for(lambda fd: len(fd.rest_calls("GET", "/users/@me")) >= 2)
            assert not chat.gateway.ready.is_set()
        with anyio.fail_after(30):
            await chat.gateway.ready.wait()
        await fd.owner.say(fd.channel_id, "hello", mention_bot=True)
        await chat.dispatcher.inbound()


@pytest.mark.asyncio
async def test_after_a_malformed_ready_a_new_client_takes_over_while_calls_go_on() -> None:
    """O4, D3: a READY that can't be read ends discord.py's connect(), but neither the bot nor a turn's messages."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        port = chat.gateway.chat.thread(fd.channel_id)
        message_id = await port.send(Body("0"), nonce="n1")
        first = chat.gateway.current()
        await fd.gateway.dispatch_raw("READY", {})
        number = 0
        with anyio.fail_after(30):
            while len(chat.readies) < 2:
                number += 1
                await port.edit(message_id, Body(str(number)))
        assert number >= 1
        assert fd.message(message_id).content == str(number)
        assert chat.gateway.current() is not first
        assert first.is_closed()
        await fd.owner.say(fd.channel_id, "still there?", mention_bot=True)
        assert (await chat.dispatcher.inbound()).text == "still there?"


@pytest.mark.asyncio
async def test_calls_go_on_while_no_new_client_can_log_in() -> None:
    """D3: the websocket is hung up at once, the old client's HTTP session is used until there is a new one."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        fd.faults.next("GET", "/users/@me", Fault.status(503), times=10_000)
        await fd.gateway.dispatch_raw("READY", {})
        await fd.wait_for(lambda fd: len(fd.rest_calls("GET", "/users/@me")) >= 3)
        assert not fd.gateway.connected
        message_id = await chat.gateway.chat.thread(fd.channel_id).send(Body("go on"), nonce="n1")
        assert fd.message(message_id).content == "go on"
        assert len(chat.readies) == 1
        fd.faults.clear()
        await chat.dispatcher.wait(lambda _: len(chat.readies) == 2)


@pytest.mark.asyncio
async def test_a_new_client_remembers_who_was_refused() -> None:
    """D2: one reply an hour and person, whatever happens to the connection."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        mallory = fd.user("mallory")
        first = await mallory.say(fd.channel_id, "one", mention_bot=True)
        await fd.wait_message(fd.channel_id, lambda message: message.reference_id == first.id)
        await fd.gateway.dispatch_raw("READY", {})
        await chat.dispatcher.wait(lambda _: len(chat.readies) >= 2)
        await mallory.say(fd.channel_id, "two", mention_bot=True)
        bob = await fd.user("bob").say(fd.channel_id, "me?", mention_bot=True)
        await fd.wait_message(fd.channel_id, lambda message: message.reference_id == bob.id)
        assert len(fd.rest_calls("POST", "/messages")) == 2


@pytest.mark.asyncio
async def test_a_lost_connection_is_resumed_and_nothing_said_meanwhile_is_missed() -> None:
    """O2: a RESUME replays; that is not a new READY."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        await fd.gateway.reconnect()
        await fd.owner.say(fd.channel_id, "meanwhile", mention_bot=True)
        assert (await chat.dispatcher.inbound()).text == "meanwhile"
        assert len(chat.readies) == 1


@pytest.mark.asyncio
async def test_told_to_close_it_hangs_up_and_returns() -> None:
    """R1: run() ends by itself, and no call goes out afterwards."""
    async with FakeDiscord() as fd:
        async with running_chat(fd, Policy()) as chat:
            client = chat.gateway.current()
        assert client.is_closed()
        assert not fd.gateway.connected
        with pytest.raises(Unavailable, match="closed"):
            await chat.gateway.chat.thread(fd.channel_id).send(Body("too late"), nonce="n1")


@pytest.mark.asyncio
async def test_a_ready_that_is_over_only_after_the_end_is_nothing() -> None:
    """R1: discord.py waits for the servers in a task that nobody ends; then it tells the client, which is closed."""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        client = chat.gateway.current()
        chat.gateway.close()
        await fd.wait_for(lambda fd: not fd.gateway.connected)
        await client.close()
        client.dispatch("ready")
        assert len(chat.readies) == 1


@pytest.mark.asyncio
async def test_told_to_close_while_discord_is_away_it_returns_at_once() -> None:
    """R1: a pause before the next try holds up nothing."""
    async with FakeDiscord() as fd, discords_address_kept():
        config = dataclasses.replace(config_for(fd), first_pause=3600.0, longest_pause=3600.0)
        gateway = make_gateway(config)
        fd.faults.next("GET", "/users/@me", Fault.RESET_BEFORE, times=100)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(gateway.run, FakeDispatcher())
                await fd.wait_for(lambda fd: fd.rest_calls("GET", "/users/@me"))
                gateway.close()


@pytest.mark.asyncio
async def test_cancelled_it_leaves_no_open_client() -> None:
    """R1: the root scope is cancelled at the end of a shutdown."""
    async with FakeDiscord() as fd, discords_address_kept():
        gateway = make_gateway(config_for(fd))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(gateway.run, FakeDispatcher())
                await gateway.ready.wait()
                client: discord.Client = gateway.current()
                group.cancel_scope.cancel()
        assert client.is_closed()


@pytest.mark.asyncio
async def test_refused_commands_do_not_keep_the_bot_from_working() -> None:
    """R3: without the scope for commands, mentions still work."""
    async with FakeDiscord() as fd:
        fd.faults.next("PUT", "/commands", Fault.status(403, 50001))
        stamp = MemoryStamp()
        async with running_chat(fd, Policy(), stamp) as chat:
            await fd.owner.say(fd.channel_id, "hello", mention_bot=True)
            await chat.dispatcher.inbound()
            await fd.wait_for(lambda fd: fd.rest_calls("PUT", "/commands"))
        assert stamp.value is None


@pytest.mark.asyncio
async def test_a_stamp_that_can_not_be_written_harms_nothing() -> None:
    """O4: a read-only state directory costs one registration a start, not the connection."""

    class Broken(MemoryStamp):
        def write(self, stamp: str) -> None:
            raise PermissionError(stamp)

    async with FakeDiscord() as fd, running_chat(fd, Policy(), Broken()) as chat:
        await fd.wait_for(lambda fd: fd.commands)
        await fd.owner.say(fd.channel_id, "hello", mention_bot=True)
        await chat.dispatcher.inbound()
        assert len(chat.readies) == 1


@pytest.mark.asyncio
async def test_told_to_close_during_a_login_that_hangs_it_returns_at_once() -> None:
    """R1: no request of the start is waited for."""
    async with FakeDiscord() as fd, discords_address_kept():
        gateway = make_gateway(config_for(fd))
        fd.faults.next("GET", "/gateway", Fault.delay(3600.0))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(gateway.run, FakeDispatcher())
                while fd.faults.pending:
                    await anyio.lowlevel.checkpoint()
                gateway.close()


@pytest.mark.asyncio
async def test_whether_a_kept_message_may_run_is_decided_by_its_own_word_on_where_its_thread_stands() -> None:
    """D2, R2: after a kill soon after a thread was opened, nothing else knows it."""
    async with FakeDiscord() as fd:
        ann = fd.user("ann")
        policy = Policy(channels=frozenset({fd.channel_id}), users=frozenset({ann.id}))
        async with running_chat(fd, policy) as chat:
            kept = inbound(7, thread_id=6, author=Actor(ann.id, "ann"))
            kept = dataclasses.replace(kept, guild_id=fd.guild_id)
            assert chat.gateway.may(dataclasses.replace(kept, parent_id=fd.channel_id))
            assert not chat.gateway.may(dataclasses.replace(kept, parent_id=fd.channel_id + 1))
            assert not chat.gateway.may(kept)
            role = dataclasses.replace(policy, users=frozenset(), roles=frozenset({55}))
            chat.gateway.allow(role)
            kept = dataclasses.replace(kept, parent_id=fd.channel_id, author=Actor(ann.id, "ann", frozenset({55})))
            # A role lets people in and no bots; what runs in somebody's name has that person's rights, in any lane.
            assert not chat.gateway.may(dataclasses.replace(kept, lane=Lane.BACKGROUND))
            assert chat.gateway.may(dataclasses.replace(kept, lane=Lane.BACKGROUND, on_behalf=True))


def test_the_token_is_not_in_the_configs_repr() -> None:
    """R5: no log line shows it by accident."""
    assert "secret" not in repr(ChatConfig(token="secret", policy=Policy(), retries=QUICK))


@pytest.mark.asyncio
async def test_a_login_that_is_broken_off_leaves_no_heartbeat_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: discord.py knows the websocket only once it has logged in, and its thread would outlive the loop."""
    reached = anyio.Event()

    async def hang(_client: WeftClient, _shard: int | None, *, initial: bool = False) -> None:
        del initial
        reached.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(WeftClient, "before_identify_hook", hang)
    before = heartbeats()
    async with FakeDiscord() as fd, discords_address_kept():
        gateway = make_gateway(config_for(fd))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(gateway.run, FakeDispatcher())
                await reached.wait()
                assert len(heartbeats() - before) == 1
                gateway.close()
        for thread in heartbeats() - before:
            thread.join(5)
        assert heartbeats() == before


def heartbeats() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if isinstance(thread, KeepAliveHandler)}


@pytest.mark.asyncio
async def test_the_end_gives_the_session_up_so_that_the_bot_is_shown_as_offline() -> None:
    """R1: Discord keeps a session that may be resumed, and with it the bot online, after every other close."""
    async with FakeDiscord() as fd:
        async with running_chat(fd):
            assert len(fd.gateway.sessions) == 1
        await fd.wait_for(lambda fd: bool(fd.gateway.close_codes))
        assert (fd.gateway.close_codes, fd.gateway.sessions) == ([1000], {})
