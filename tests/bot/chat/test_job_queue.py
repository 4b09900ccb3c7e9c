"""The queue of small jobs behind the event handlers."""

from __future__ import annotations

import anyio
import pytest

from bot.chat.job_queue import JobQueue


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
