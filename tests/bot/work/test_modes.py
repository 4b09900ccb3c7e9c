"""Queue modes: the nearest choice counts, and it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from bot.model import QueueMode
from bot.work.choices import Choices
from bot.work.modes import Modes
from bot.work.task_tracker import TaskTracker
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import running_work
from tests.bot.work.samples import ALICE, inbound
from tests.pool.memory import MemoryStore

SERVER, THREAD = 1, 100


@asynccontextmanager
async def choosing(store: MemoryStore) -> AsyncIterator[Modes]:
    async with anyio.create_task_group() as tasks:
        choices = Choices(TaskTracker(tasks), store)
        modes = Modes(choices, QueueMode.QUEUE)
        await choices.load()
        modes.load()
        yield modes


@pytest.mark.asyncio
async def test_the_nearest_choice_counts() -> None:
    """Q2: the message's own, the thread's, the server's, the default."""
    async with choosing(MemoryStore()) as modes:
        assert modes.of(inbound(1)) is QueueMode.QUEUE
        modes.choose(SERVER, QueueMode.FOLLOWUP)
        assert modes.of(inbound(1)) is QueueMode.FOLLOWUP
        modes.choose(THREAD, QueueMode.STEER)
        assert modes.of(inbound(1)) is QueueMode.STEER
        assert modes.of(inbound(1, thread_id=200)) is QueueMode.FOLLOWUP
        assert modes.of(replace(inbound(1), mode=QueueMode.INTERRUPT)) is QueueMode.INTERRUPT


@pytest.mark.asyncio
async def test_choices_are_known_to_the_next_run() -> None:
    """Q2, R2"""
    store = MemoryStore()
    async with choosing(store) as modes:
        modes.choose(THREAD, QueueMode.STEER)
        modes.choose(THREAD, QueueMode.INTERRUPT)
    async with choosing(store) as modes:
        assert modes.at(THREAD) is QueueMode.INTERRUPT


@pytest.mark.asyncio
@pytest.mark.parametrize("options", ["{}", "no json", "[]", '{"queue_mode": "unknown"}', '{"queue_mode": 3}'])
async def test_a_choice_that_can_not_be_understood_is_none(options: str) -> None:
    """R2"""
    store = MemoryStore()
    await store.bind(THREAD, options=options)
    async with choosing(store) as modes:
        assert modes.at(THREAD) is QueueMode.QUEUE


@in_virtual_time
async def test_the_mode_of_the_server_is_shown_as_that_of_its_threads() -> None:
    """Q2, Q11."""
    async with running_work() as work:
        work.desk.choose_mode(1, QueueMode.FOLLOWUP, ALICE, server=True)
        assert "Mode: followup" in work.desk.queue(100, 1)
