"""Who gets the next agent: nobody is overtaken again and again, however busy the others are."""

from __future__ import annotations

from bot.outcome import Outcome
from pool.launcher import Sharing
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import running_work
from tests.bot.work.samples import BOB
from tests.pool.fakes import ByThread


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
        work.desk.stop(300, BOB)
        await work.prompted("hang", "newer")
        assert (3, Outcome.ANSWERED) in await work.over(2)
