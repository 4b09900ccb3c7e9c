"""The gateway fails while turns run: the turns go on, and what people post meanwhile is answered once and in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bot.chat.client import WeftClient
from bot.model import Outcome
from bot.sandbox import FakeDiscord, delay
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.e2e.play import LIMIT, Play
from tests.e2e.process import first_lines
from tests.e2e.witness import WITNESS, witnessed, words
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]

HISTORY = r"/messages$"


async def identified(game: Play, before: int) -> None:
    """Wait until a client has begun a session that is none of the first ``before``."""
    await game.discord.wait_for(lambda fd: fd.gateway.identifies > before and fd.gateway.connected, timeout=LIMIT)


def count_readies(game: Play, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each READY from now on; with the one that was before, it has the first entry."""
    readies, changes, on_ready = [1], game.discord.state.changes, WeftClient.on_ready

    async def ready_again(client: WeftClient) -> None:
        await on_ready(client)
        readies.append(len(readies) + 1)
        changes.note()

    monkeypatch.setattr(WeftClient, "on_ready", ready_again)
    return readies


def gated(directory: Path) -> tuple[ScriptedAgent, Gate, Gate]:
    """Return an agent that answers ``work`` in three parts, with a gate before the second and the third."""
    first, second = Gate(directory / "first"), Gate(directory / "second")
    work: list[Step] = [{"text": "one "}, first.step, {"text": "two "}, second.step, {"text": "three"}]
    return scenario(directory, words=words(directory, work=work)), first, second


# --- lost connections ------------------------------------------------------------------------------------------


@asynccontextmanager
async def closed(fd: FakeDiscord) -> AsyncIterator[None]:
    await fd.gateway.close(4000)
    yield


@asynccontextmanager
async def asked_to_reconnect(fd: FakeDiscord) -> AsyncIterator[None]:
    await fd.gateway.reconnect()
    yield


@asynccontextmanager
async def cut_off(fd: FakeDiscord) -> AsyncIterator[None]:
    """The connection is reset (1006) and no new one is possible until left."""
    async with fd.gateway.outage():
        yield


@pytest.mark.parametrize("lost", [cut_off, *in_soak([closed, asked_to_reconnect])])
async def test_a_turn_goes_on_through_a_connection_that_is_resumed(
    tmp_path: Path, lost: Callable[[FakeDiscord], AbstractAsyncContextManager[None]]
) -> None:
    """D3, O2, O4: edits go on without a gateway; what was posted meanwhile is replayed and answered once."""
    agent, first, second = gated(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        async with lost(game.discord):
            follow_up = await game.say(thread_id, "meanwhile")
            first.open()
            await game.until_shown(thread_id, "one two")
        second.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert first_lines(game.discord, thread_id) == ["one two three", "meanwhile"]
        assert agent.prompts() == [WITNESS, "work", "meanwhile"]
        assert (game.discord.gateway.resumes, game.discord.gateway.identifies) == (1, 1)


async def test_what_was_lost_with_a_refused_resume_is_answered_once_and_in_order(tmp_path: Path) -> None:
    """Q1, R2, O2: messages and mentions of the gap come before what is said after it."""
    agent, first, second = gated(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        gateway = game.discord.gateway
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        gateway.refuse_resume = True
        game.discord.faults.next("GET", HISTORY, delay(0.2), times=2)
        await gateway.close(4000)
        for text in ("lost 1", "lost 2"):
            await game.say(thread_id, text)
        mentioned = await game.mention("lost 3")
        await identified(game, 1)
        last = await game.say(thread_id, "after it")
        first.open()
        second.open()
        assert await game.outcome(last) is Outcome.ANSWERED
        assert await game.outcome(mentioned) is Outcome.ANSWERED
        assert first_lines(game.discord, thread_id) == ["one two three", "lost 1", "lost 2", "after it"]
        assert first_lines(game.discord, mentioned) == ["lost 3"]
        assert sorted(agent.prompts()) == sorted([WITNESS, "work", "lost 1", "lost 2", "lost 3", "after it"])
        assert gateway.resumes == 0


async def test_what_two_catch_ups_find_is_answered_once(tmp_path: Path) -> None:
    """R2: a second READY comes while the first one's messages are being fetched, and a third after that."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent) as game:
        gateway, fetched = game.discord.gateway, len(game.discord.rest_calls("GET", "/messages"))
        thread_id, _ = await game.ask("hello")
        game.discord.faults.next("GET", HISTORY, delay(0.3), times=2)
        with gateway.losing():
            missed, mentioned = await game.say(thread_id, "missed 1"), await game.mention("missed 2")
        await gateway.invalidate()
        await game.discord.wait_for(lambda fd: fd.faults.pending < 2, timeout=LIMIT)
        await gateway.invalidate()
        assert await game.outcome(missed) is Outcome.ANSWERED
        assert await game.outcome(mentioned) is Outcome.ANSWERED
        with gateway.losing():
            last = await game.say(thread_id, "missed 3")
        await gateway.invalidate()
        assert await game.outcome(last) is Outcome.ANSWERED
        assert first_lines(game.discord, thread_id) == ["hello", "missed 1", "missed 3"]
        assert first_lines(game.discord, mentioned) == ["missed 2"]
        assert len(agent.prompts()) == 5
        assert gateway.identifies == 4
        assert len(game.discord.rest_calls("GET", "/messages")) >= fetched + 3


async def test_a_mention_that_is_too_old_leaves_no_thread_to_be_read_that_is_not_there(tmp_path: Path) -> None:
    """R2, D10: it is told in the channel, and nothing was opened."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent, clean=False, catch_up=0.0) as game:
        fd = game.discord
        with fd.gateway.losing():
            missed = await game.mention("old mention")
        await fd.gateway.invalidate()
        assert await game.outcome(missed) is Outcome.INTERRUPTED
        with fd.gateway.losing():
            last = await game.mention("another one")
        await fd.gateway.invalidate()
        assert await game.outcome(last) is Outcome.INTERRUPTED
        assert not game.opened(missed)
        assert fd.rest_calls("GET", f"/channels/{missed}/") == []


# --- events that are wrong -------------------------------------------------------------------------------------


async def test_an_event_that_comes_twice_is_one_turn(tmp_path: Path) -> None:
    """O1, O2: mentions and messages in threads, before and while a turn runs."""
    agent, first, second = gated(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        game.discord.gateway.duplicate_next = 1_000
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        waiting = [await game.say(thread_id, text) for text in ("then 1", "then 2")]
        first.open()
        second.open()
        for message_id in (thread_id, *waiting):
            assert await game.outcome(message_id) is Outcome.ANSWERED
        late = await game.say(thread_id, "then 3")
        assert await game.outcome(late) is Outcome.ANSWERED
        assert first_lines(game.discord, thread_id) == ["one two three", "then 1", "then 2", "then 3"]
        assert agent.prompts() == [WITNESS, "work", "then 1", "then 2", "then 3"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("MESSAGE_CREATE", {"id": "not a number"}),
        *in_soak([("THREAD_UPDATE", {"id": "1"}), ("GUILD_CREATE", {"id": None})]),
    ],
)
async def test_a_malformed_event_costs_itself_alone(tmp_path: Path, name: str, data: dict[str, object]) -> None:
    """O2, O4, D3: the connection stays, the turns go on, and what is posted after it is answered."""
    agent, first, second = gated(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        await game.discord.gateway.dispatch_raw(name, data)
        later = await game.say(thread_id, "later")
        first.open()
        await game.until_shown(thread_id, "one two")
        second.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert await game.outcome(later) is Outcome.ANSWERED
        assert game.discord.gateway.identifies == 1
        assert first_lines(game.discord, thread_id) == ["one two three", "later"]
        assert await game.stop(thread_id) == "There is nothing to stop."
        assert agent.prompts() == [WITNESS, "work", "later"]


# --- many at once ----------------------------------------------------------------------------------------------


async def test_in_ten_reconnections_each_message_is_answered_once_and_in_the_order_of_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q1, O2, O4, R2: three threads stream meanwhile; some events are lost, some replayed, some live."""
    gate = Gate(tmp_path / "gate")
    stream: list[Step] = [{"text": "streamed " * 20, "chunks": 60, "delay": 0.005}, gate.step, {"text": "to the end"}]
    agent = scenario(tmp_path, words=words(tmp_path, stream=stream))
    async with witnessed(tmp_path, agent) as game:
        fd, gateway, readies = game.discord, game.discord.gateway, count_readies(game, monkeypatch)
        threads = [await game.mention(f"stream {number}") for number in range(3)]
        for thread_id in threads:
            await game.until_shown(thread_id, "streamed")
        said: dict[int, list[str]] = {thread_id: [] for thread_id in threads}
        last = []

        async def post(number: int) -> None:
            thread_id = threads[number % 3]
            said[thread_id].append(f"said {number}")
            last.append(await game.say(thread_id, said[thread_id][-1]))

        sessions = 1
        for number in range(10):
            sessions += number % 4 > 1
            match number % 4:
                case 0:
                    await gateway.close(4000)
                case 1:
                    await gateway.reconnect()
                case 2:
                    with gateway.losing():
                        await post(number)
                    await gateway.invalidate()
                case _:
                    await gateway.dispatch_raw("READY", {})
            if number % 4 != 2:
                await post(number)
            # A client that ends before it is ready leaves a task of discord.py's behind that complains.
            while not (gateway.connected and len(readies) == gateway.identifies == sessions):
                await fd.state.changes.wait()
        gate.open()
        for message_id in (*threads, *last):
            assert await game.outcome(message_id) is Outcome.ANSWERED
        for thread_id in threads:
            streamed, *rest = first_lines(game.discord, thread_id)
            assert streamed == "streamed " * 20 + "to the end"
            assert rest == said[thread_id]
        assert len(agent.prompts()) == len(set(agent.prompts())) == 1 + 3 + 10
