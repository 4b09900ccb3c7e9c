"""Calls to Discord's REST interface: retried where that can help, counted, and refused before Discord bans us.

discord.py waits for rate limits of up to half a minute and repeats 500, 502, 504 and 524 by itself; 503, resets and
time-outs are ours, and longer limits are for the caller. Errors are those of `bot.reply.port`.
A call has no time-out here (the HTTP client's is 300 s): cutting one off neither undoes it nor speeds up the next.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
import anyio
import anyio.lowlevel
import discord
import structlog
import yarl
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from bot.chat.fence import MaySend, NotLeading, always, fence_requests
from bot.reply.port import MessageGone, PortError, ThreadArchived, ThreadDeleted, ThreadGone, Unavailable
from bot.work.observer import Observer

log = structlog.get_logger(__name__)

EDITS_SPENT = 30046  # of a message older than an hour; it comes as a 429, but no later edit is taken either
UNKNOWN_CHANNEL, UNKNOWN_GUILD, UNKNOWN_MESSAGE, UNKNOWN_EMOJI = 10003, 10004, 10008, 10014
MISSING_ACCESS, MISSING_PERMISSIONS, ARCHIVED = 50001, 50013, 50083
FILE_TOO_LARGE, NO_REPLIES = 40005, 160002
THREAD_EXISTS, LOCKED = 160004, 160005
BLOCKED_TEXT = frozenset({200000, 200001})  # by the server's AutoMod rules: the text is refused, not Weft
GONE = frozenset({UNKNOWN_GUILD, MISSING_ACCESS, MISSING_PERMISSIONS, LOCKED})

UNAUTHORIZED, FORBIDDEN, TOO_MANY_REQUESTS, SERVER_ERRORS = 401, 403, 429, 500
LEAVE_LIMIT = 5.0  # seconds that a call begun before a cancellation may still take
# The same for one that changes nothing. Not cut off at once: discord.py would hold the next request to the same place
# back for 30 s.
READ_LEAVE_LIMIT = 2.0

# Discord bans an address at 10,000 refused requests in ten minutes. Ours stays below 1,000.
WINDOW = 600.0  # seconds
SPARING, CLOSED = 900, 990  # refused requests in a window
_REFUSED = frozenset({UNAUTHORIZED, FORBIDDEN, TOO_MANY_REQUESTS})
_SCOPE, _SHARED = "X-RateLimit-Scope", "shared"

METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})
SCOPES = frozenset({"user", "global", "shared"})
OTHER = "other"
"""Stands for a method, route or scope that is not known."""

_PLACES = frozenset({"channels", "guilds", "users", "applications", "interactions", "webhooks", "oauth2", "gateway"})
_IN_CHANNEL = ("reactions", "threads", "typing", "messages")
"""What is called below a channel; the first of them that a path has names it."""

ROUTES = (*sorted(_PLACES), *_IN_CHANNEL, OTHER)

T = TypeVar("T")


class TryAgain(Unavailable):
    """Discord could not be reached this time; another try may succeed."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """Times in seconds: no try starts later than ``budget``; pauses grow from ``first`` to ``longest``, with jitter."""

    budget: float = 60.0
    first: float = 0.5
    longest: float = 8.0


class Level(IntEnum):
    """What still goes out."""

    ALL = 0
    ESSENTIAL = 1
    NOTHING = 2


@dataclass(slots=True)
class Breaker:
    """Counts refused requests over all clients: their times, and the level that was logged last."""

    sparing: int = SPARING
    closed: int = CLOSED
    clock: Callable[[], float] = time.monotonic
    _times: deque[float] = field(default_factory=deque)
    _logged: Level = Level.ALL

    def count(self, status: int, scope: str | None = None) -> None:
        """Take note of an answer."""
        # A limit that is shared with others does not count towards a ban: they may have used it up, not we.
        if status in _REFUSED and scope != _SHARED:
            self._times.append(self.clock())
            # Bounded: more than these close it no further.
            if len(self._times) > self.closed:
                self._times.popleft()
            self.level()

    def level(self) -> Level:
        """Return what may go out now; a change is logged."""
        since = self.clock() - WINDOW
        while self._times and self._times[0] <= since:
            self._times.popleft()
        count = len(self._times)
        level = Level.NOTHING if count >= self.closed else Level.ESSENTIAL if count >= self.sparing else Level.ALL
        if level > self._logged:
            log.warning("breaker.opened", level=level.name.lower(), refused=count, window=WINDOW)
        elif level < self._logged:
            log.info("breaker.closed", level=level.name.lower(), refused=count)
        self._logged = level
        return level

    def lets(self, *, essential: bool) -> bool:
        """Return whether a call may go out."""
        level = self.level()
        return level is Level.ALL or (essential and level is Level.ESSENTIAL)


def route(url: yarl.URL) -> str:
    """Return what kind of call goes to an address: one of `ROUTES`."""
    # A path holds ids, and those of interactions a token: a metric may tell neither, only a word of a short list.
    if url.scheme in ("ws", "wss"):
        return "gateway"
    parts = [part for part in url.path.split("/") if part]
    first = next((part for part in parts if part in _PLACES), OTHER)
    if first != "channels":
        return first
    below = parts[parts.index(first) + 2 :]
    return next((name for name in _IN_CHANNEL if name in below), first)


def trace_config(breaker: Breaker, observer: Observer, may_send: MaySend = always) -> aiohttp.TraceConfig:
    """Return what shows the breaker and the observer each answer that an HTTP session gets, and fences its requests."""

    async def started(_session: object, context: SimpleNamespace, _params: aiohttp.TraceRequestStartParams) -> None:
        context.began = time.monotonic()

    async def ended(_session: object, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        status, scope = params.response.status, params.response.headers.get(_SCOPE, OTHER)
        method = params.method if params.method in METHODS else OTHER
        breaker.count(status, scope)
        observer.discord_answered(method, route(params.url), status, time.monotonic() - context.began)
        if status == TOO_MANY_REQUESTS:
            observer.discord_limited(scope if scope in SCOPES else OTHER)

    async def failed(_session: object, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        # A call that we cut off ourselves, or never sent, says nothing of Discord.
        if isinstance(params.exception, Exception) and not isinstance(params.exception, NotLeading):
            method = params.method if params.method in METHODS else OTHER
            observer.discord_answered(method, route(params.url), 0, time.monotonic() - context.began)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(started)
    config.on_request_end.append(ended)
    config.on_request_exception.append(failed)
    fence_requests(config, may_send)
    return config


@dataclass(frozen=True, slots=True)
class Rest:
    """Runs operations on the client that ``current`` returns at that moment; it holds no client itself.

    What is not essential (a late sign is useless anyway) is the first that the breaker refuses.
    """

    current: Callable[[], discord.Client]
    limits: RetryLimits
    breaker: Breaker

    async def call(
        self,
        operation: Callable[[discord.Client], Awaitable[T]],
        *,
        essential: bool = True,
        leave_limit: float = LEAVE_LIMIT,
    ) -> T:
        """Run an operation that does no harm when it is repeated.

        Args:
            leave_limit: seconds that it may still take once it is cancelled; `READ_LEAVE_LIMIT` if it changes nothing.

        Raises:
            PortError: one of its kinds, or itself when Discord refuses the request as it is.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_delay(self.limits.budget),
            # With jitter: after an outage all threads would try again at the same moment.
            wait=wait_random_exponential(multiplier=self.limits.first, max=self.limits.longest),
            before_sleep=lambda state: log.info(
                "discord.retried",
                attempt=state.attempt_number,
                error=str(state.outcome.exception() if state.outcome else None),
            ),
            reraise=True,
        )
        return await retrying(functools.partial(self.once, operation, essential=essential, leave_limit=leave_limit))

    async def once(
        self,
        operation: Callable[[discord.Client], Awaitable[T]],
        *,
        essential: bool = True,
        leave_limit: float = LEAVE_LIMIT,
    ) -> T:
        """Run an operation a single time; errors as in `call`."""
        if not self.breaker.lets(essential=essential):
            raise Unavailable("discord refused so many requests that this one is not sent")
        # Asked for at each try: while the call waited for its next one, the client may have been replaced.
        client = self.current()
        try:
            return await unbroken(functools.partial(operation, client), leave_limit)
        except discord.HTTPException as exc:
            raise translate(exc) from exc
        except discord.RateLimited as exc:
            raise Unavailable(f"discord takes none of these for {exc.retry_after:.0f} s", exc.retry_after) from exc
        except NotLeading as exc:
            raise Unavailable(str(exc)) from exc
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
    """Run a call that an outside cancellation must not cut off: it may continue for ``leave_limit`` seconds."""
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
