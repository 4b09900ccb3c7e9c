"""The editors of threads: one each, forgotten when there is nothing left to deliver; and the nonces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from bot.reply.editor import ThreadEditor
from bot.reply.pacing import Pacing
from bot.reply.port import Body, ThreadGone, ThreadPort
from bot.work.editors import Editors, nonce_source
from tests.bot.reply.fakes import FakeThread, FakeTurn, final_reply, in_virtual_time
from tests.bot.work.fakes import busy_scheduler

NOTICE = Body("a notice")


@dataclass
class Scene:
    editors: Editors
    threads: dict[int, FakeThread]
    gone: list[tuple[int, str]]


@asynccontextmanager
async def editing() -> AsyncIterator[Scene]:
    threads: dict[int, FakeThread] = {}
    gone: list[tuple[int, str]] = []

    def port(thread_id: int) -> ThreadPort:
        return threads.setdefault(thread_id, FakeThread())

    async with anyio.create_task_group() as tasks:
        editors = Editors(tasks, port, Pacing(), nonce_source(1), busy_scheduler(), lambda *args: gone.append(args))
        yield Scene(editors, threads, gone)
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_a_thread_has_one_editor() -> None:
    """D3."""
    async with editing() as scene:
        assert scene.editors.of(1) is scene.editors.of(1)
        assert scene.editors.of(1) is not scene.editors.of(2)


@in_virtual_time
async def test_an_editor_works_without_being_told_to() -> None:
    """D3."""
    async with editing() as scene:
        assert await scene.editors.of(1).say(NOTICE).delivered()
        assert scene.threads[1].texts == ["a notice"]


@in_virtual_time
async def test_an_editor_with_an_undelivered_notice_is_not_forgotten() -> None:
    """D3: a thread never has two writers."""
    async with editing() as scene:
        editor = scene.editors.of(1)
        notice = editor.say(NOTICE)
        scene.editors.forget_idle(1)
        assert scene.editors.of(1) is editor
        assert await notice.delivered()


@in_virtual_time
async def test_an_editor_with_an_open_reply_is_not_forgotten() -> None:
    """D3."""
    async with editing() as scene:
        editor, turn = scene.editors.of(1), FakeTurn(started=anyio.current_time(), last_event=anyio.current_time())
        reply = editor.open(1, turn.snapshot)
        await anyio.sleep(1)
        scene.editors.forget_idle(1)
        assert scene.editors.of(1) is editor
        reply.finish(final_reply())
        await reply.delivered()
        scene.editors.forget_idle(1)
        assert scene.editors.of(1) is not editor


@in_virtual_time
async def test_an_idle_editor_is_forgotten_and_its_task_ends() -> None:
    """Q10."""
    async with editing() as scene:
        editor = scene.editors.of(1)
        await editor.say(NOTICE).delivered()
        scene.editors.forget_idle(1)
        await anyio.sleep(1)
        assert scene.editors.of(1) is not editor
        assert scene.editors._tasks.cancel_scope.cancel_called is False
        assert await scene.editors.of(1).say(NOTICE).delivered()


@in_virtual_time
async def test_the_end_of_a_forgotten_editor_leaves_its_successor() -> None:
    """P5 for editors: removal is by identity."""
    async with editing() as scene:
        await scene.editors.of(1).say(NOTICE).delivered()
        scene.editors.forget_idle(1)
        successor = scene.editors.of(1)
        await anyio.sleep(1)
        assert scene.editors.of(1) is successor


@in_virtual_time
async def test_to_forget_a_thread_without_an_editor_does_nothing() -> None:
    """Q10."""
    async with editing() as scene:
        scene.editors.forget_idle(1)
        assert scene.threads == {}


@in_virtual_time
async def test_a_thread_that_is_gone_is_reported_by_its_id() -> None:
    """D10."""
    async with editing() as scene:
        editor = scene.editors.of(7)
        scene.threads[7].fail["send"] = [ThreadGone("deleted")]
        assert await editor.say(NOTICE).delivered() is False
        assert scene.gone == [(7, "deleted")]


@in_virtual_time
async def test_close_lets_every_editor_deliver_what_it_has_and_end() -> None:
    """R1."""
    async with editing() as scene:
        notices = [scene.editors.of(number).say(NOTICE) for number in (1, 2)]
        scene.editors.close()
        assert [await notice.delivered() for notice in notices] == [True, True]


@in_virtual_time
async def test_a_fault_in_an_editor_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, Q10."""
    run = ThreadEditor.run

    async def run_or_fail(editor: ThreadEditor) -> None:
        if editor is broken:
            raise RuntimeError("a fault of ours")
        await run(editor)

    monkeypatch.setattr(ThreadEditor, "run", run_or_fail)
    async with editing() as scene:
        broken = scene.editors.of(1)
        assert await scene.editors.of(2).say(NOTICE).delivered()
        assert scene.editors.of(1) is not broken


# --- nonces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 1_700_000_000_123_456_789, 10**30])
def test_a_nonce_has_at_most_25_characters(seed: int) -> None:
    """D3: Discord's limit."""
    nonces = nonce_source(seed)
    assert max(len(nonces()) for _ in range(20_000)) <= 25


def test_no_nonce_comes_twice() -> None:
    """D3: the same one posts nothing."""
    nonces = nonce_source(1_700_000_000_123_456_789)
    assert len({nonces() for _ in range(20_000)}) == 20_000


def test_two_runs_have_no_nonce_in_common() -> None:
    """R2: a message of this run is never taken for one of the last."""
    first, second = nonce_source(1_700_000_000_000_000_000), nonce_source(1_700_000_000_000_000_001)
    assert {first() for _ in range(1000)}.isdisjoint({second() for _ in range(1000)})
