"""The end of the bot: every message has its outcome, within a bound, and nothing starts any more."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from bot.outcome import Outcome
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, PlayedSession, answer, chunk, running_work


@in_virtual_time
async def test_the_end_of_the_bot_tells_what_runs_and_what_waits() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.until(lambda: ("accept", 2) in work.store.calls)
        await work.desk.shutdown()
        assert sorted(work.outcomes) == [(1, Outcome.INTERRUPTED), (2, Outcome.INTERRUPTED)]
        assert len([text for text in work.chat.texts() if "send this message again" in text]) == 2
        assert work.agents.prompted == ["hang"]


@in_virtual_time
async def test_what_an_agent_says_within_its_grace_is_shown_at_the_end_of_the_bot() -> None:
    """R1, T6: what we decided counts more than the stop reason; the text is kept."""

    def finish_anyway(session: PlayedSession) -> None:
        session.deaf = True
        session.cancel = lambda: answer(session)  # type: ignore[method-assign]

    async with running_work(finish=finish_anyway) as work:
        work.post(1, "finish")
        await work.prompted("finish")
        await work.desk.shutdown()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert any("an answer" in text for text in work.chat.texts())


@in_virtual_time
async def test_a_turn_that_is_starting_is_interrupted_at_the_end_of_the_bot() -> None:
    """R1."""
    async with running_work() as work:
        work.agents.start_gates["100"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.agents.starts == ["100"])
        await work.desk.shutdown()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]


@in_virtual_time
async def test_a_message_that_is_being_written_at_the_end_of_the_bot_has_one_outcome() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.store.gates["accept"] = anyio.Event()
        work.post(1)
        await work.until(lambda: work.store.calls)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.desk.shutdown)
                await work.settled()
                work.store.gates["accept"].set()
        await work.settled()
        assert work.outcomes == [(1, Outcome.INTERRUPTED)]
        assert await work.store.open_prompts() == []


@in_virtual_time
async def test_a_message_after_the_end_has_begun_is_told_so_and_not_accepted() -> None:
    """R1, O1."""
    async with running_work() as work:
        work.post(1, "deaf")
        await work.prompted("deaf")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.desk.shutdown)
            await work.settled()
            work.post(2, thread_id=200)
        ((message_id, text),) = work.chat.refused
        assert message_id == 2
        assert "⚠️ **interrupted**" in text
        assert work.outcomes == [(2, Outcome.INTERRUPTED), (1, Outcome.INTERRUPTED)]
        assert ("accept", 2) not in work.store.calls
        assert [number for number, _ in work.chat.acknowledged] == [1]


@in_virtual_time
async def test_what_comes_after_the_end_starts_nothing_and_breaks_nothing() -> None:
    """R1: agents and Discord's connection are taken down after the work."""
    async with running_work() as work:
        work.post(1)
        await work.over()
    before = work.chat.texts()
    late = work.agents.sessions[0].on_late
    assert late is not None
    late(chunk("one more thing"))
    work.post(2)
    work.desk.admit()
    await work.settled()
    assert (work.agents.prompted, work.chat.texts(), work.chat.refused) == (["hello"], before, [])
    assert ("accept", 2) not in work.store.calls


@in_virtual_time
async def test_the_end_of_the_bot_does_not_wait_for_ever_for_discord() -> None:
    """R1: bounded."""
    limits = replace(LIMITS, stop_bound=3.0, flush_bound=2.0)
    async with running_work(limits=limits, speak=lambda session: session.say("hello there")) as work:
        work.chat.thread(100)
        work.chat.threads[100].delay = 500.0
        work.post(1, "speak")
        await work.prompted("speak")
        began = anyio.current_time()
        await work.desk.shutdown()
        assert anyio.current_time() - began == pytest.approx(5.0)


@in_virtual_time
async def test_the_end_of_an_idle_bot_waits_for_nothing() -> None:
    """R1."""
    async with running_work() as work:
        began = anyio.current_time()
        await work.desk.shutdown()
        assert anyio.current_time() == began
