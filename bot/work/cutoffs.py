"""Up to where a stop-all skips a thread's messages, kept over restarts (Q7).

What the cutoff does is the queue's business. No state is kept here.
"""

from __future__ import annotations

from functools import partial

import anyio

from bot.work.choices import Choices
from bot.work.queue.scheduler import Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.turns import Claim

_KEY = "cutoff"


def keep(choices: Choices, scheduler: Scheduler[Claim], thread_id: int) -> None:
    """Write down the snowflake before which nothing of a thread runs."""
    choices.put(thread_id, _KEY, scheduler.queue(thread_id).memory.cutoff)


def restore(choices: Choices, scheduler: Scheduler[Claim]) -> None:
    """Let the queues know what was kept, before anything comes in; the oldest first, as they are forgotten first."""
    kept = {place: cutoff for place, cutoff in choices.all(_KEY).items() if type(cutoff) is int}
    for thread_id, cutoff in sorted(kept.items(), key=lambda one: one[1]):
        scheduler.do(thread_id, partial(ThreadQueue.cut, before=cutoff), anyio.current_time())
