"""From a message to a prompt that may start: written, acknowledged, its thread open; or told why not, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from bot.model import Inbound, Outcome
from bot.reply.port import PortError, ThreadGone
from bot.work.intake import Intake
from bot.work.observer import Observer
from bot.work.queue.entry import End, Why
from bot.work.serialization import accepted_prompt
from pool.store import StoreBusy
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChat, NotedStore
from tests.bot.work.samples import inbound

SECRET = "hunter2-hunter2"


@dataclass
class Scene:
    intake: Intake
    chat: FakeChat
    store: NotedStore
    accepted: list[int]
    dropped: list[int]
    recorded: list[tuple[int, Outcome]]
    undecided: dict[int, End]
    acknowledged: list[int]
    let_go: list[int]


def note(ids: list[int], message_id: int) -> list[Any]:
    ids.append(message_id)
    return []


@asynccontextmanager
async def taking() -> AsyncIterator[Scene]:
    chat, store = FakeChat(), NotedStore()

    accepted: list[int] = []
    dropped: list[int] = []
    recorded: list[tuple[int, Outcome]] = []
    undecided: dict[int, End] = {}
    acknowledged: list[int] = []
    let_go: list[int] = []

    async def record(inbound: Inbound, outcome: Outcome) -> None:
        recorded.append((inbound.message_id, outcome))

    queue = SimpleNamespace(
        line=SimpleNamespace(undecided=undecided),
        accepted=partial(note, accepted),
        refused=partial(note, dropped),
    )
    scheduler = SimpleNamespace(queue=lambda _thread_id: queue, deciding=lambda *_: nullcontext((queue, [])))
    intake = Intake(
        cast("Any", None),
        chat,
        store,
        cast("Any", SimpleNamespace(evict=let_go.append)),
        cast("Any", scheduler),
        cast("Any", None),
        cast("Any", SimpleNamespace(accepted=lambda inbound: acknowledged.append(inbound.message_id))),
        cast("Any", SimpleNamespace(record=record)),
        cast("Any", None),
        cast("Any", None),
        cast("Any", SimpleNamespace(refusal=lambda _inbound: None)),
        cast("Any", None),
        Observer(),
        redact=lambda text: text.replace(SECRET, "[secret]"),
    )
    yield Scene(intake, chat, store, accepted, dropped, recorded, undecided, acknowledged, let_go)


def opening() -> Inbound:
    return replace(inbound(100), channel_id=7, opens_thread=True)


@in_virtual_time
async def test_an_accepted_message_is_written_and_then_acknowledged() -> None:
    """O2."""
    async with taking() as scene:
        item = inbound(1)
        await scene.intake.accept(item)
        await anyio.sleep(1)
        assert (scene.accepted, scene.dropped, scene.recorded) == ([item.message_id], [], [])
        assert [entry.prompt for entry in await scene.store.open_prompts()] == [accepted_prompt(item)]
        assert scene.acknowledged == [1]


@in_virtual_time
async def test_nothing_is_acknowledged_or_started_before_it_is_written() -> None:
    """O2."""
    async with taking() as scene:
        scene.store.gates["accept"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.intake.accept, opening())
            await anyio.sleep(5)
            assert (scene.accepted, scene.acknowledged, scene.chat.opened) == ([], [], [])
            scene.store.gates["accept"].set()


@in_virtual_time
async def test_a_message_that_was_accepted_before_is_dropped_without_a_word() -> None:
    """O1, R2."""
    async with taking() as scene:
        await scene.intake.accept(inbound(1))
        again = inbound(1)
        await scene.intake.accept(again)
        await anyio.sleep(1)
        assert scene.dropped == [again.message_id]
        assert (len(scene.accepted), len(scene.acknowledged)) == (1, 1)
        assert (scene.chat.refused, scene.recorded) == ([], [])


@in_virtual_time
async def test_the_thread_is_open_before_the_turn_may_start() -> None:
    """D1."""
    async with taking() as scene:
        scene.chat.gates["open_thread"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.intake.accept, opening())
            await anyio.sleep(5)
            assert (scene.chat.opened, scene.accepted) == ([100], [])
            assert scene.acknowledged == [100]
            scene.chat.gates["open_thread"].set()
        assert len(scene.accepted) == 1


@in_virtual_time
async def test_a_message_in_a_thread_opens_none() -> None:
    """D1."""
    async with taking() as scene:
        await scene.intake.accept(inbound(1))
        assert scene.chat.opened == []


@in_virtual_time
async def test_a_thread_that_can_not_be_opened_is_told_where_the_message_stands() -> None:
    """O1, D1."""
    async with taking() as scene:
        scene.chat.fail["open_thread"] = ThreadGone("missing permission")
        item = opening()
        await scene.intake.accept(item)
        assert scene.chat.refused == [
            (100, "⚠️ **Failed:** `the thread could not be opened: missing permission`. Send it again to retry."),
        ]
        assert (scene.accepted, scene.dropped, scene.recorded) == ([], [item.message_id], [(100, Outcome.FAILED)])
        assert scene.let_go == [item.thread_id]


@in_virtual_time
async def test_a_fault_while_the_thread_is_opened_is_one_outcome() -> None:
    """O1, Q10."""
    async with taking() as scene:
        scene.chat.fail["open_thread"] = RuntimeError("a fault")
        item = opening()
        await scene.intake.accept(item)
        ((_, text),) = scene.chat.refused
        assert "something went wrong in Weft itself" in text
        assert (scene.accepted, scene.dropped, scene.recorded) == ([], [item.message_id], [(100, Outcome.FAILED)])


@in_virtual_time
async def test_a_message_that_can_not_be_written_is_not_accepted_and_told_so() -> None:
    """O1, O2."""
    async with taking() as scene:
        scene.store.fail["accept"] = OSError("disk full")
        item = inbound(1)
        await scene.intake.accept(item)
        await anyio.sleep(1)
        assert (scene.accepted, scene.dropped, scene.recorded) == ([], [item.message_id], [(1, Outcome.FAILED)])
        assert (len(scene.chat.refused), scene.acknowledged) == (1, [])


@pytest.mark.parametrize("error", [PortError("no"), RuntimeError("a fault")])
def test_a_refusal_that_can_not_be_shown_is_recorded_all_the_same(error: Exception) -> None:
    """O1."""

    @in_virtual_time
    async def play() -> None:
        async with taking() as scene:
            scene.chat.fail |= {"open_thread": ThreadGone("deleted"), "refuse": error}
            await scene.intake.accept(opening())
            assert scene.recorded == [(100, Outcome.FAILED)]

    play()


@in_virtual_time
async def test_a_prompt_that_is_refused_makes_room_before_discord_has_heard_of_it() -> None:
    """Q10: those behind it do not wait for Discord."""
    async with taking() as scene:
        scene.chat.fail["open_thread"] = ThreadGone("deleted")
        scene.chat.gates["refuse"] = anyio.Event()
        item = opening()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.intake.accept, item)
            await anyio.sleep(5)
            assert scene.dropped == [item.message_id]
            scene.chat.gates["refuse"].set()


@in_virtual_time
async def test_a_message_while_the_bot_stops_is_told_so_and_neither_written_nor_acknowledged() -> None:
    """R1, O1."""
    async with taking() as scene:
        scene.intake.closed = True
        item = inbound(1)
        await scene.intake.accept(item)
        await anyio.sleep(1)
        ((_, text),) = scene.chat.refused
        assert "**Interrupted:**" in text
        assert (scene.dropped, scene.accepted) == ([item.message_id], [])
        assert (scene.store.calls, scene.acknowledged) == ([], [])


@in_virtual_time
async def test_a_refusal_tells_no_secret() -> None:
    """R5."""
    async with taking() as scene:
        scene.chat.fail["open_thread"] = ThreadGone(f"token {SECRET}")
        await scene.intake.accept(opening())
        ((_, text),) = scene.chat.refused
        assert SECRET not in text
        assert "[secret]" in text


@pytest.mark.asyncio
async def test_a_message_over_the_store_s_bound_is_told_so_and_not_accepted() -> None:
    """O2, R6: busy, not accepted."""
    async with taking() as scene:
        scene.store.fail["accept"] = StoreBusy()
        await scene.intake.accept(opening())
        ((_, text),) = scene.chat.refused
        assert text == "⚠️ **Not run:** Weft is too busy to take messages just now. Send it again later."
        assert scene.recorded == [(opening().message_id, Outcome.DROPPED)]
        assert scene.acknowledged == []


@pytest.mark.asyncio
async def test_a_thread_is_remembered_with_its_title() -> None:
    """R6"""
    async with taking() as scene:
        await scene.intake.accept(opening())
        record = await scene.store.thread(opening().thread_id)
        assert record is not None
        assert record.title == opening().title


@in_virtual_time
async def test_a_mention_that_is_withdrawn_meanwhile_opens_no_thread_and_is_told_where_it_stands() -> None:
    """O1, T6: stop works in every phase."""
    async with taking() as scene:
        scene.undecided[100] = End(opening(), Why(Outcome.STOPPED, by="bob"))
        await scene.intake.accept(opening())
        await anyio.sleep(1)
        assert scene.chat.opened == []
        assert [message_id for message_id, _ in scene.chat.refused] == [100]
        assert (scene.dropped, scene.recorded) == ([100], [(100, Outcome.STOPPED)])
