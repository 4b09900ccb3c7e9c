"""Boards: one message in a channel, edited when something changed and at most every ten seconds, over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from bot.model import DISCORD_EPOCH, snowflake_at
from bot.reply.port import PortError, ThreadDeleted, ThreadGone, Unavailable
from bot.work.outside.board_text import NOTHING
from bot.work.outside.boards import ENDED, FORBIDDEN_AGAIN, HERE, LOOK, MOST_BOARDS, MOVED, NONE_HERE, PACE, TOO_MANY
from tests.bot.reply.fakes import FakeThread, gaps, in_virtual_time
from tests.bot.work.fakes import FakeChat, NotedStore, Work, kept, running_work

CHANNEL, GUILD = 7, 1


def clock() -> float:
    return DISCORD_EPOCH + 100_000 + anyio.current_time()


class Snowflakes:
    """Ids of messages as Discord gives them: with the time in them."""

    def __init__(self) -> None:
        self.last = 0

    def __next__(self) -> int:
        self.last = max(self.last + 1, snowflake_at(clock()))
        return self.last


def channel() -> FakeThread:
    return FakeThread(_ids=Snowflakes())  # type: ignore[arg-type]


@asynccontextmanager
async def working(
    store: NotedStore | None = None, port: FakeThread | None = None, **parts: object
) -> AsyncIterator[tuple[Work, FakeThread]]:
    """A dispatcher at work in virtual time, and the channel of its board."""
    port = port or channel()
    chat = FakeChat(threads={CHANNEL: port})
    async with running_work(store=store, chat=chat, max_agents=8) as work:
        work.dispatcher.outside.boards._clock = work.dispatcher.thread_states._clock = clock
        yield work, port


@in_virtual_time
async def test_a_board_follows_the_threads_of_its_server_and_is_left_alone_while_nothing_changes() -> None:
    """A3: those that everybody sees who sees the channel; never two edits in ten seconds, never more than 15 late."""
    async with working() as (work, port):
        boards = work.dispatcher.outside.boards
        assert boards.put_up(GUILD, CHANNEL) == HERE
        work.chat.channels.hidden.add(300)
        await anyio.sleep(1)
        assert NOTHING in port.texts[0]
        for number, thread_id in enumerate((100, 200, 300), 1):
            work.post(number, "hang", thread_id=thread_id)
        work.post(4, "hang", thread_id=400, guild_id=2)
        await anyio.sleep(15)
        (text,) = port.texts
        assert "2 working" in text
        assert "<#100>" in text
        assert "<#300>" not in text
        assert "<#400>" not in text
        edits = len(port.calls)
        await anyio.sleep(1000)
        assert len(port.calls) == edits
        work.agents.sessions[0].respond()
        await work.outcome(1)
        await anyio.sleep(15)
        assert "1 working, 1 done" in port.texts[0]
        # Every second something else: the pace stays.
        for number in range(10, 60):
            work.post(number, thread_id=number)
            await anyio.sleep(1)
        await anyio.sleep(15)
        assert "and 27 more" in port.texts[0]
        assert min(gaps([call for call in port.calls if call.kind != "delete"])) >= PACE
        assert len(port.of("send")) == 1


@in_virtual_time
async def test_a_message_that_only_waits_is_seen_as_well() -> None:
    """A3, Q6: no turn tells of it."""
    async with running_work(max_agents=1, chat=FakeChat(threads={CHANNEL: channel()})) as work:
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        work.post(1, "hang", thread_id=100)
        await anyio.sleep(30)
        work.post(2, "later", thread_id=200)
        await anyio.sleep(PACE + LOOK)
        assert "1 working, 1 waiting" in work.chat.texts(CHANNEL)[0]


@in_virtual_time
async def test_a_board_older_than_discord_lets_edit_freely_is_posted_anew() -> None:
    """A3: of a message older than an hour few edits are taken."""
    async with working() as (work, port):
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        await anyio.sleep(4000)
        work.post(1, "hang")
        await anyio.sleep(15)
        (text,) = port.texts
        assert "1 working" in text
        # Then its agent tells its name.
        assert [call.kind for call in port.calls] == ["send", "send", "delete", "edit"]
        assert "`fake`" in text
        work.agents.sessions[0].respond()
        await anyio.sleep(15)
        assert [call.kind for call in port.calls[4:]] == ["edit"]


@in_virtual_time
async def test_a_board_goes_on_after_a_restart_and_one_that_a_kill_left_unrecorded_is_found() -> None:
    """A3, R6"""
    store, port = kept(), channel()
    async with working(store, port) as (work, _):
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        work.post(1, "hang")
        await anyio.sleep(30)
        assert "1 working" in port.texts[0]
    # The turn has ended with the bot.
    assert "1 failed" in port.texts[0]
    first = port.shown[0][0]
    # Posted anew, and killed before that was recorded.
    async with working(store, port) as (work, _):
        await anyio.sleep(5)
        assert port.shown[0][0] == first
        assert NOTHING in port.texts[0]
        work.dispatcher.outside.boards._clock = lambda: clock() + 7200
        settings = work.dispatcher.thread_settings
        settings.keep(CHANNEL, {"board": {**settings.kept(CHANNEL, "board"), "since": first}})
        newer = await port.send(port.messages[first], nonce="x")
        await work.settled()
    async with working(store, port) as (work, _):
        await anyio.sleep(5)
        assert [number for number, _ in port.shown] == [newer]
        assert work.dispatcher.thread_settings.kept(CHANNEL, "board")["message"] == newer
        work.dispatcher.thread_settings.keep(8, {"board": {"guild": "x"}})
        work.dispatcher.outside.boards.end(CHANNEL)
        await work.settled()
    async with working(store, port) as (work, _):
        await anyio.sleep(30)
        assert port.shown == []


@in_virtual_time
async def test_a_board_is_moved_ended_and_over_when_its_message_is_deleted() -> None:
    """A3: by command, by a person, or with its channel; there is a bound for all."""
    async with working() as (work, port):
        boards = work.dispatcher.outside.boards
        assert boards.end(CHANNEL) == NONE_HERE
        boards.put_up(GUILD, CHANNEL)
        await anyio.sleep(1)
        first = port.shown[0][0]
        assert boards.put_up(GUILD, CHANNEL) == MOVED
        await anyio.sleep(30)
        ((second, _),) = port.shown
        assert second > first
        work.dispatcher.deleted(first)
        assert boards.end(CHANNEL) == ENDED
        await anyio.sleep(30)
        assert port.shown == []
        assert work.dispatcher.thread_settings.kept(CHANNEL, "board") is None
        # Told by the gateway, or found out by an edit.
        for told in (True, False):
            boards.put_up(GUILD, CHANNEL)
            await anyio.sleep(20)
            ((number, _),) = port.shown
            del port.messages[number]
            if told:
                work.dispatcher.deleted(number)
            work.post(10 + told, thread_id=10 + told)
            await anyio.sleep(30)
            assert port.shown == []
            assert boards.end(CHANNEL) == NONE_HERE
        for number in range(MOST_BOARDS):
            assert boards.put_up(GUILD + number % 2, 1000 + number) == HERE
        assert boards.put_up(GUILD, CHANNEL) == TOO_MANY
        work.dispatcher.forget(1000)
        assert boards.put_up(GUILD, CHANNEL) == HERE
        work.dispatcher.forget(GUILD)
        assert boards.end(CHANNEL) == NONE_HERE


@in_virtual_time
async def test_a_board_that_ends_while_it_is_looked_for_or_while_nobody_listens_stays_away() -> None:
    """A3, R6"""
    store, port = kept(), channel()
    async with working(store, port) as (work, _):
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        await anyio.sleep(30)
    async with working(store, port) as (work, _):
        await anyio.sleep(port.delay / 2)
        assert work.dispatcher.outside.boards.end(CHANNEL) == ENDED
        await anyio.sleep(30)
        assert port.shown == []
        assert work.dispatcher.thread_settings.kept(CHANNEL, "board") is None
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        await anyio.sleep(30)
    port.messages.clear()
    async with working(store, port) as (work, _):
        work.dispatcher.outside.boards._clock = lambda: clock() + 7200
        await anyio.sleep(30)
        assert port.shown == []
        assert work.dispatcher.outside.boards.end(CHANNEL) == NONE_HERE


@pytest.mark.parametrize(
    ("error", "pause"),
    [(Unavailable("", 40.0), 40), (PortError("400"), 30), (ThreadGone("403"), FORBIDDEN_AGAIN), (ValueError("x"), 600)],
)
def test_a_board_that_discord_does_not_take_is_tried_again(error: Exception, pause: float) -> None:
    """A3, D10"""

    @in_virtual_time
    async def run() -> None:
        async with working() as (work, port):
            port.fail["edit"] = [error]
            work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
            await anyio.sleep(20)
            work.post(1, "hang")
            await anyio.sleep(pause + 20)
            assert "1 working" in port.texts[0]
            first, second = port.of("edit")
            assert pause <= second.at - first.at < pause + 5

    run()


@in_virtual_time
async def test_a_board_ends_with_its_channel_whenever_that_is_found_out() -> None:
    async with working() as (work, port):
        port.fail["send"] = [ThreadDeleted("gone")]
        work.dispatcher.outside.boards.put_up(GUILD, CHANNEL)
        await anyio.sleep(5)
        assert work.dispatcher.outside.boards.end(CHANNEL) == NONE_HERE
