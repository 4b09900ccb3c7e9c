"""Calls to Discord's REST interface, tried again where that can help; errors in the words of `bot.reply.port`.

discord.py waits for rate limits of up to half a minute and repeats 500, 502, 504 and 524 by itself; 503, resets and
time-outs are ours, and longer limits are for whoever calls.
A call has no time-out of its own here (the HTTP client's is 300 s): cutting one off neither undoes it nor speeds up
the next.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import anyio
import anyio.lowlevel
import discord
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from bot.chat.breaker import Breaker
from bot.reply.port import MessageGone, PortError, ThreadArchived, ThreadDeleted, ThreadGone, Unavailable

log = structlog.get_logger(__name__)

EDITS_SPENT = 30046  # of a message older than an hour; it comes as a 429, but no later edit fares better
UNKNOWN_CHANNEL, UNKNOWN_GUILD, UNKNOWN_MESSAGE, UNKNOWN_EMOJI = 10003, 10004, 10008, 10014
MISSING_ACCESS, MISSING_PERMISSIONS, ARCHIVED = 50001, 50013, 50083
FILE_TOO_LARGE, NO_REPLIES = 40005, 160002
THREAD_EXISTS, LOCKED = 160004, 160005
BLOCKED_TEXT = frozenset({200000, 200001})  # by the server's AutoMod rules: the text is refused, not Weft
GONE = frozenset({UNKNOWN_GUILD, MISSING_ACCESS, MISSING_PERMISSIONS, LOCKED})

FORBIDDEN, TOO_MANY_REQUESTS, SERVER_ERRORS = 403, 429, 500
LEAVE_LIMIT = 5.0  # seconds that a call begun before a cancellation may still take
READ_LEAVE_LIMIT = 2.0  # the same for one that changes nothing

T = TypeVar("T")


class TryAgain(Unavailable):
    """Discord could not be reached this time; another try may succeed."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """Times in seconds: no try starts later than ``budget``; pauses grow from ``first`` to ``longest``, with jitter."""

    budget: float = 60.0
    first: float = 0.5
    longest: float = 8.0


class Rest:
    """Runs operations on whatever client is the current one; it holds no client itself.

    What is not essential (a sign that comes late is of no use anyway) is the first that the breaker refuses.
    """

    def __init__(
        self, current: Callable[[], discord.Client], limits: RetryLimits, breaker: Breaker | None = None
    ) -> None:
        self._current, self._limits, self._breaker = current, limits, breaker or Breaker()

    async def call(self, operation: Callable[[discord.Client], Awaitable[T]], *, essential: bool = True) -> T:
        """Run an operation that does no harm when it is repeated.

        Raises:
            PortError: one of its kinds, or itself when Discord refuses the request as it is.
        """
        return await self._retrying()(functools.partial(self.once, operation, essential=essential))

    async def read(self, operation: Callable[[discord.Client], Awaitable[T]]) -> T:
        """Run an operation that changes nothing, as `call` does; a cancellation is not kept waiting for long."""
        # Not cut off at once: discord.py would hold the next request to the same place back for 30 s.
        return await self._retrying()(functools.partial(self.once, operation, leave_limit=READ_LEAVE_LIMIT))

    async def once(
        self,
        operation: Callable[[discord.Client], Awaitable[T]],
        *,
        essential: bool = True,
        leave_limit: float = LEAVE_LIMIT,
    ) -> T:
        """Run an operation a single time; errors as in `call`."""
        if not self._breaker.lets(essential=essential):
            raise Unavailable("discord refused so many requests that this one is not sent")
        client = self._current()
        with _in_our_words(client):
            return await unbroken(functools.partial(operation, client), leave_limit)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_delay(self._limits.budget),
            wait=wait_random_exponential(multiplier=self._limits.first, max=self._limits.longest),
            before_sleep=_log_retry,
            reraise=True,
        )


@contextmanager
def _in_our_words(client: discord.Client) -> Iterator[None]:
    try:
        yield
    except discord.HTTPException as exc:
        raise translate(exc) from exc
    except discord.RateLimited as exc:
        raise Unavailable(f"discord takes none of these for {exc.retry_after:.0f} s", exc.retry_after) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise TryAgain(f"discord was not reached: {exc!r}") from exc
    except RuntimeError as exc:
        # The client was replaced and its HTTP session closed while the call waited for its rate limit.
        if not client.is_closed():
            raise
        raise TryAgain("the connection was replaced") from exc


def translate(error: discord.HTTPException) -> PortError:
    """Say what an answer of Discord means for a thread."""
    text = f"{error.status} (code {error.code}): {error.text}"
    if error.code in (UNKNOWN_MESSAGE, EDITS_SPENT):
        return MessageGone(text)
    if error.code == ARCHIVED:
        return ThreadArchived(text)
    if error.status == FORBIDDEN and not error.code:
        # Not in Discord's own words, but a page of the proxy before it: that tells nothing of the thread.
        return Unavailable(text)
    if error.code == UNKNOWN_CHANNEL:
        return ThreadDeleted(text)
    if error.code in GONE or (error.status == FORBIDDEN and error.code not in BLOCKED_TEXT):
        return ThreadGone(text)
    if error.status >= SERVER_ERRORS:
        return TryAgain(text)
    # discord.py waits out an ordinary 429 by itself; one that surfaces is a ban of the address: don't insist.
    return Unavailable(text) if error.status == TOO_MANY_REQUESTS else PortError(text)


async def unbroken(call: Callable[[], Awaitable[T]], leave_limit: float = LEAVE_LIMIT) -> T:
    """Run a call that a cancellation from outside must not cut: it may go on for ``leave_limit`` seconds then."""
    result: list[T] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as watch:
        with anyio.CancelScope(shield=True) as scope:
            watch.start_soon(_limit_when_cancelled, scope, leave_limit)
            try:
                result.append(await call())
            except Exception as exc:  # noqa: BLE001 - raised below, outside the group, which would wrap it
                failure = exc
        watch.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not result:
        await anyio.lowlevel.checkpoint()  # the limit struck, so a cancellation is due here
        raise TryAgain("the call was cut off")
    return result[0]


async def _limit_when_cancelled(scope: anyio.CancelScope, leave_limit: float) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        scope.deadline = anyio.current_time() + leave_limit


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("discord.retried", attempt=state.attempt_number, error=str(error))
