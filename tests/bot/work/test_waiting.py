"""What waits: when it starts by itself, and who gets the next agent, so that nobody is overtaken again and again."""

from __future__ import annotations

from dataclasses import replace

import anyio

from acp.errors import ForkFailed
from bot.model import Outcome
from bot.work.queue.rules import Rules
from pool.launcher import Sharing
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, running_work
from tests.bot.work.samples import ALICE, BOB
from tests.pool.fakes import ByThread

SLOW = replace(LIMITS, rules=Rules(debounce=2.0))


@in_virtual_time
async def test_a_queued_prompt_does_not_keep_the_agent_from_an_older_newcomer() -> None:
    """P4, Q6: the thread that waits for longer gets the place when the turn ends."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang", thread_id=100)
        await work.prompted("hang")
        work.post(2, "older", thread_id=200)
        work.post(3, "newer", thread_id=100)
        await work.settled()
        work.agents.sessions[0].respond()
        assert len(await work.over(3)) == 3
        assert work.agents.prompted == ["hang", "older", "newer"]
        assert [outcome for _, outcome in work.outcomes] == [Outcome.ANSWERED] * 3


def shared(*threads: int) -> ByThread:
    launcher = ByThread()
    launcher.shared = dict.fromkeys(threads, Sharing("shared", 20))
    return launcher


@in_virtual_time
async def test_threads_that_keep_a_shared_process_busy_do_not_keep_another_agent_waiting_for_ever() -> None:
    """P4, Q6: what is newer waits for the one turn that the older one gets, and then goes on."""
    async with running_work(max_agents=1, launcher=shared(100, 200)) as work:
        work.post(1, "hang", thread_id=100)
        await work.prompted("hang")
        work.post(2, "older", thread_id=300)
        await work.settled()
        work.post(3, "newer", thread_id=200)
        await work.settled()
        work.agents.sessions[0].respond()
        await work.over(3)
        assert work.agents.prompted == ["hang", "older", "newer"]


@in_virtual_time
async def test_who_stood_back_goes_on_when_the_one_that_waited_is_stopped() -> None:
    """Q6, Q7: nobody waits without need."""
    async with running_work(max_agents=1, launcher=shared(100, 200)) as work:
        work.post(1, "hang", thread_id=100)
        await work.prompted("hang")
        work.post(2, "older", thread_id=300)
        await work.settled()
        work.post(3, "newer", thread_id=200)
        await work.settled()
        work.dispatcher.controls.stop(300, BOB)
        await work.prompted("hang", "newer")
        assert (3, Outcome.ANSWERED) in await work.over(2)


@in_virtual_time
async def test_what_still_collects_when_the_turn_before_it_ends_starts_by_itself() -> None:
    """Q4, O1: while the turn ran there was nothing to wait for; its end must set the clock anew."""
    async with running_work(limits=SLOW) as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "next")
        await anyio.sleep(0.5)
        work.dispatcher.controls.stop(100, ALICE)
        await anyio.sleep(2)
        assert work.agents.prompted == ["hang", "next"]


@in_virtual_time
async def test_what_still_collects_when_the_hold_ends_starts_by_itself() -> None:
    """Q1, Q4."""
    async with running_work(limits=SLOW, held=True) as work:
        work.post(1)
        await anyio.sleep(0.5)
        work.dispatcher.release()
        await anyio.sleep(2)
        assert work.agents.prompted == ["hello"]


@in_virtual_time
async def test_what_still_collects_when_the_one_before_it_is_removed_starts_by_itself() -> None:
    """Q4, Q5: the wait of the one before it was for an agent, and not for the time."""
    async with running_work(limits=SLOW, max_agents=1) as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2)
        await anyio.sleep(3)
        work.post(3, "other", author=BOB)
        await anyio.sleep(0.5)
        work.dispatcher.controls.remove(100, 2, ALICE)
        work.dispatcher.controls.stop(200, ALICE)
        await anyio.sleep(2.5)
        assert work.agents.prompted == ["hang", "other"]


@in_virtual_time
async def test_a_turn_that_could_not_be_forked_keeps_its_place() -> None:
    """Q1, Q9: also if the turn that it was to run beside has ended meanwhile."""
    limits = replace(LIMITS, rules=Rules(debounce=0.0, max_concurrent=2))
    async with running_work(limits=limits) as work:
        gate = work.agents.fork_gates["100"] = anyio.Event()
        work.agents.fork_errors["100"] = ForkFailed("no")
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2, "second")
        await anyio.sleep(0.5)
        work.post(3, "third")
        await anyio.sleep(0.5)
        work.dispatcher.controls.stop(100, ALICE, prompt=1)
        gate.set()
        await work.over(3)
        assert work.agents.prompted == ["hang", "second", "third"]


@in_virtual_time
async def test_what_is_edited_or_deleted_while_its_agent_starts_is_asked_otherwise_or_not() -> None:
    """Q5, O1."""
    async with running_work() as work:
        for thread in ("100", "200"):
            work.agents.start_gates[thread] = anyio.Event()
        work.post(1, "drop the table")
        work.post(2, "typo", thread_id=200)
        await work.until(lambda: len(work.agents.starts) == 2)
        work.dispatcher.deleted(1)
        work.dispatcher.edited(2, "better")
        for gate in work.agents.start_gates.values():
            gate.set()
        await work.over(2)
        assert work.agents.prompted == ["better"]
        assert dict(work.outcomes) == {1: Outcome.REMOVED, 2: Outcome.ANSWERED}
        assert work.told("the message was deleted")
