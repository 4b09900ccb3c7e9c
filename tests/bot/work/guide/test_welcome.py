"""The welcome, over restarts and for whom."""

from __future__ import annotations

from dataclasses import replace

from bot.model import Lane
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, kept, running_work
from tests.bot.work.samples import BOB, mention

WELCOMING = replace(LIMITS, welcome=True)


@in_virtual_time
async def test_a_person_who_was_welcomed_is_not_welcomed_by_the_next_run_and_a_bot_never_is() -> None:
    """K5: two threads that begin in the same moment count as one."""
    store = kept()
    async with running_work(store=store, limits=WELCOMING) as work:
        for message in (mention(1), mention(2), replace(mention(3), author=BOB, lane=Lane.BACKGROUND)):
            work.dispatcher.submit(message)
        await work.over(3)
        assert [len(work.told("You are talking to the agent", thread_id)) for thread_id in (1, 2, 3)] == [1, 0, 0]
    async with running_work(store=store, limits=WELCOMING) as work:
        work.dispatcher.submit(mention(4))
        await work.over()
        assert work.told("an answer", 4)
        assert not work.told("You are talking", 4)
