"""What another agent gets to read: the newest turns, and how many are left out."""

from __future__ import annotations

import anyio
import pytest

from acp.snapshot import ToolState
from bot.agents.model import AgentProfile, Agents
from bot.model import QueueMode
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.transcripts.handoffs import NOT_KEPT, NOTHING_GIVEN, ROOM, Handoffs, History
from bot.work.transcripts.service import Transcripts
from tests.bot.work.transcripts.turns import THREAD, kept, over
from tests.pool.memory import MemoryStore

pytestmark = pytest.mark.asyncio

TWO = Agents({name: AgentProfile(name, (name,), "/w") for name in ("red", "blue")}, "red", {})


async def test_of_a_long_conversation_the_newest_turns_are_handed_over() -> None:
    """S4: both the agent and the thread learn how many are not; with no turn kept, there is nothing to read."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            transcripts = await kept(40, 3_000)
            settings = ThreadSettings(TaskTracker(tasks), transcripts.store, TWO, QueueMode.QUEUE)
            handoffs = Handoffs(transcripts, settings)
            assert await handoffs.history(THREAD, takes_resources=True) is None
            for thread_id in (THREAD, THREAD + 1):
                assert handoffs.begin(thread_id, "blue").accepted
            history = await handoffs.history(THREAD, takes_resources=True)
            assert isinstance(history, History)
            text = (history.block.resource or {})["text"]
            assert ROOM // 2 < len(text) < ROOM + 1_000
            given = [number for number in range(1, 41) if f"answer {number}.x" in text]
            assert given == list(range(41 - len(given), 41)), "the newest, without a gap"
            assert f"last {len(given)} turns, in short; {40 - len(given)} older left out.]" in text
            assert f"{len(given)} turns of this thread to read; {40 - len(given)} older left out" in history.told.text
            assert await handoffs.history(THREAD + 1, takes_resources=True) is NOTHING_GIVEN
            assert await handoffs.history(THREAD + 1, takes_resources=True) is None, "said once"
            # One turn alone may be larger: of that there is less.
            calls = tuple(ToolState(str(number), f"call {number}.", output="x" * 900) for number in range(1, 301))
            words = over(text="begin" + "ü" * 90_000 + "end")
            for turn, kept_of_it in ((words, "begin end left"), (over(text="done", tools=calls), "300. more tool")):
                await transcripts.keep(turn)
                handoffs.repeat(THREAD, history)
                long = await handoffs.history(THREAD, takes_resources=True)
                assert isinstance(long, History)
                text = (long.block.resource or {})["text"]
                assert len(text.encode()) < ROOM + 1_000
                assert all(word in text for word in kept_of_it.split())
            nothing = Handoffs(Transcripts(MemoryStore(), str, 0), settings)
            assert nothing.begin(THREAD + 2, "blue") == NOT_KEPT
            assert settings.agent_of(THREAD + 2) == "red"
