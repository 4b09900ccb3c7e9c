"""Messages of somebody who sends too many: refused, and told so once (O1).

How many are too many is decided in `policy.rate`; what counts is when they were posted. The mutable state is the
buckets there, and which refused messages are not written down yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.model import Inbound, Outcome, posted_at
from bot.work.ending import TurnEnd
from bot.work.queue.rate import RateLimit
from bot.work.serialization import accepted_prompt
from bot.work.task_tracker import TaskTracker
from pool.store import SessionStore, StoreBusy


class RateLimiter:
    """Refuses what comes too fast.

    Args:
        in_channel: tells the end of a message that has no thread yet.
        in_thread: tells the end of a message in its thread.

    Attributes:
        pending: refused messages that are not written down yet.
    """

    def __init__(
        self,
        steps: TaskTracker,
        store: SessionStore,
        rate: RateLimit,
        *,
        in_channel: Callable[[Inbound, TurnEnd], Awaitable[None]],
        in_thread: Callable[[Inbound, TurnEnd], None],
    ) -> None:
        self._steps = steps
        self._store = store
        self._rate = rate
        self._in_channel = in_channel
        self._in_thread = in_thread
        self.pending: set[int] = set()

    def refuses(self, inbound: Inbound) -> bool:
        """Count a message; True: it is one too many, and will be told so."""
        at, author = posted_at(inbound.message_id), inbound.author.id
        if self._rate.take(author, at):
            return False
        window, wait = self._rate.window, self._rate.wait(author, at)
        reason = f"more than {self._rate.per_user} messages in {window:.0f} s; try again in {wait:.0f} s"
        self.pending.add(inbound.message_id)
        end = TurnEnd(Outcome.DROPPED, reason=reason)
        self._steps.begin(self._refuse, inbound, end, name=f"refuse {inbound.message_id}")
        return True

    async def _refuse(self, inbound: Inbound, end: TurnEnd) -> None:
        # Written down like any other: what had its end in an earlier run gets no second one, and this one no turn.
        try:
            first = await self._store.accept(accepted_prompt(inbound))
        except StoreBusy:
            first = True
        finally:
            self.pending.discard(inbound.message_id)
        if first and inbound.opens_thread:
            await self._in_channel(inbound, end)
        elif first:
            self._in_thread(inbound, end)
