"""What people are promised outlives the process: it is written before it counts as saved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

import anyio
import pytest

from bot.model import QueueMode
from bot.work.ports import Answer
from pool.storage.durable import open_store
from tests.bot.work.fakes import NotedStore, Work, running_work
from tests.bot.work.samples import ALICE

pytestmark = pytest.mark.asyncio


async def test_what_was_promised_is_in_the_file_once_it_counts_as_saved(tmp_path: Path) -> None:
    """Q2, Q5, Q7, Q8, R2: a kill right after takes nothing back."""
    path = tmp_path / "state.db"

    def kept(statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as other:
            return other.execute(statement).fetchall()

    async def saved(work: Work, answer: Answer) -> None:
        assert answer.accepted
        assert answer.lasting
        assert await work.dispatcher.saved()

    with anyio.fail_after(30):
        async with open_store(path) as store, running_work(store=cast("NotedStore", store)) as work:
            work.post(1, "hang")
            await work.prompted("hang")
            for number in range(2, 6):
                work.post(number)
            await work.until(lambda: not work.dispatcher.pending())
            await saved(work, work.dispatcher.controls.stop(100, ALICE, prompt=2))
            await saved(work, work.dispatcher.controls.remove(100, 3, ALICE))
            await saved(work, work.dispatcher.controls.clear(100, ALICE))
            assert kept("select message_id, outcome from prompts where outcome is not null order by 1") == [
                (2, "stopped"),
                (3, "removed"),
                (4, "removed"),
                (5, "removed"),
            ]
            await saved(work, work.dispatcher.controls.choose_mode(100, QueueMode.STEER, ALICE, server=False))
            assert kept("select options from threads where thread_id = 100") == [('{"queue_mode":"steer"}',)]
            await saved(work, work.dispatcher.controls.stop_all(100, ALICE, before=9))
            assert kept("select options from threads where thread_id = 100") == [('{"queue_mode":"steer","cutoff":9}',)]
            await saved(work, work.dispatcher.controls.reset(100, ALICE))
            assert kept("select session_id, previous_session_id from threads") == [(None, work.agents.sessions[0].id)]


async def test_going_on_is_in_the_file_once_it_counts_as_saved(tmp_path: Path) -> None:
    """R2: the button vanishes when the answer comes."""
    path = tmp_path / "state.db"
    with anyio.fail_after(30):
        async with open_store(path) as store, running_work(store=cast("NotedStore", store)) as work:
            work.post(1, "hang")
            await work.prompted("hang")
        async with open_store(path) as store, running_work(store=cast("NotedStore", store), held=True) as work:
            assert work.dispatcher.controls.go_on(100, 1, 50, ALICE).lasting
            assert await work.dispatcher.saved()
            with closing(sqlite3.connect(path)) as other:
                assert other.execute("select count(*) from prompts where message_id = 50").fetchall() == [(1,)]
