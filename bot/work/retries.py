"""Calls to Discord that are made again for as long as it is unavailable."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from bot.model import Inbound
from bot.reply.port import OwnMessage, PortError, Unavailable
from bot.work.ports import Chat

LONGEST_PAUSE = 60.0
"""Seconds between two tries, unless Discord asks for more."""

_LOOKED_AT = 100
_growing = wait_exponential(max=LONGEST_PAUSE)  # from a second on


async def open_thread(chat: Chat, inbound: Inbound, limit: float | None = None) -> None:
    """Open the thread of a message, if it opens one.

    Args:
        limit: seconds after which no further try begins; None: it is tried for as long as it takes.

    Raises:
        PortError: it is not open.
    """
    if inbound.opens_thread:
        await _while_unavailable(limit)(chat.open_thread, inbound)


async def own_messages(chat: Chat, channel_id: int, after: int) -> Sequence[OwnMessage]:
    """Return Weft's own among the messages after one, however long that takes; none where it may not read them."""
    try:
        return await _while_unavailable()(chat.thread(channel_id).own_messages, after, _LOOKED_AT)
    except PortError:
        return ()


def _while_unavailable(limit: float | None = None) -> AsyncRetrying:
    begin = anyio.current_time()

    def pause(state: RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        return max(_growing(state), error.retry_after if isinstance(error, Unavailable) else 0.0)

    def over(state: RetryCallState) -> bool:
        return limit is not None and anyio.current_time() + state.upcoming_sleep > begin + limit

    return AsyncRetrying(retry=retry_if_exception_type(Unavailable), wait=pause, stop=over, reraise=True)
