"""The queue of small jobs behind the event handlers."""

from __future__ import annotations

import functools
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from bot.chat.job_queue import CAPACITY, JobQueue, PlaceQueues, contain
from pool.storage.durable import open_store
from pool.store import SeenPlace


async def in_line(jobs: JobQueue, wanted: anyio.Event) -> None:
    """Run the line until the event comes."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(jobs.run)
            await wanted.wait()
            group.cancel_scope.cancel()


@pytest.mark.asyncio
async def test_jobs_are_done_in_order_one_after_the_other() -> None:
    """Q1: messages of one thread keep their order while its channel is looked up."""
    jobs, done, last = JobQueue("test"), list[int](), anyio.Event()

    async def job(number: int) -> None:
        for _ in range(5 - number):
            await anyio.lowlevel.checkpoint()
        done.append(number)
        if number == 4:
            last.set()

    assert all(jobs.post(job, number) for number in range(5))
    await in_line(jobs, last)
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [OSError("reset"), KeyError("a bug"), TimeoutError()], ids=repr)
async def test_a_job_that_fails_harms_no_other(error: Exception) -> None:
    """O4: a failure in one thread changes nothing in another."""
    jobs, last = JobQueue("test"), anyio.Event()

    async def fail() -> None:
        raise error

    async def succeed() -> None:
        last.set()

    jobs.post(fail)
    jobs.post(succeed)
    await in_line(jobs, last)


@pytest.mark.asyncio
async def test_what_can_not_be_written_any_more_is_told_in_a_plain_line(tmp_path: Path) -> None:
    """R10: marks of what was read are still to be written when a lease is lost."""
    async with open_store(tmp_path / "weft.db") as store:
        await store.close()
        with capture_logs() as logs:
            await contain("seen", functools.partial(store.see, [SeenPlace(10, 1, None, None, 100)]))
    told = {"event": "errand.failed", "log_level": "warning", "line": "seen"}
    assert logs == [{**told, "error": "StoreClosed('the store is closed')"}]


@pytest.mark.asyncio
async def test_a_job_that_hangs_is_given_up() -> None:
    """O4: one slow request delays the others for a bounded time."""
    jobs, last = JobQueue("test", job_limit=0.01), anyio.Event()

    async def succeed() -> None:
        last.set()

    jobs.post(anyio.sleep_forever)
    jobs.post(succeed)
    await in_line(jobs, last)


@pytest.mark.asyncio
async def test_a_full_line_refuses_instead_of_growing() -> None:
    """O2: what is refused was never accepted; memory is bounded."""
    jobs, last = JobQueue("test", capacity=2), anyio.Event()

    async def succeed() -> None:
        last.set()

    assert [jobs.post(succeed) for _ in range(3)] == [True, True, False]
    await in_line(jobs, last)
    assert not jobs.post(succeed)


@pytest.mark.asyncio
async def test_a_place_keeps_its_order_and_holds_up_no_other() -> None:
    """Q1, O4: what is looked up for one thread delays its own messages alone, also those that come meanwhile."""
    places, done = PlaceQueues("test"), list[str]()
    begun, go, last = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()
        done.append("slow")

    async def quick(name: str) -> None:
        done.append(name)
        if name == "last":
            last.set()

    places.post(1, slow)
    places.post(1, functools.partial(quick, "second"))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(places.run)
            await begun.wait()
            places.post(2, functools.partial(quick, "elsewhere"))
            while 2 in places:
                await anyio.lowlevel.checkpoint()
            places.post(1, functools.partial(quick, "last"))
            assert done == ["elsewhere"]
            assert 1 in places
            go.set()
            await last.wait()
            group.cancel_scope.cancel()
    assert done == ["elsewhere", "slow", "second", "last"]
    assert 1 not in places


@pytest.mark.asyncio
async def test_a_place_takes_so_many_jobs_and_no_more() -> None:
    """O2: what is refused was never accepted; memory is bounded."""
    places, done, last = PlaceQueues("test"), list[int](), anyio.Event()

    async def job(number: int) -> None:
        done.append(number)
        if number == CAPACITY - 1:
            last.set()

    for number in range(CAPACITY + 5):
        places.post(1, functools.partial(job, number))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(places.run)
            await last.wait()
            while 1 in places:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert done == list(range(CAPACITY))
