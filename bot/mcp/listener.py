"""The bot's side of the socket: takes calls of agents' MCP servers, and has them carried out for their session (M1).

Every process of this user may connect, agents and what they start above all: what comes is bounded before it is read,
who sends it is looked up before anything else counts, and whoever floods pays alone. What the tools do is decided by
the object that is called. The mutable state is the connections that have not said what they want, the calls under way,
and a token bucket for each thread.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import structlog
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import ValidationError

from bot.mcp.protocol import CALL_BYTES, HELLO_BYTES, VERSION, Answer, Call, Hello, answer
from bot.mcp.tools import TOOLS, ToolArguments, ToolRefused, validated
from bot.ops.address import UnixSocket
from bot.ops.listener import bound
from bot.work.observer import Observer
from bot.work.queue.rate import RateLimit
from pool.session_servers import Offer

log = structlog.get_logger(__name__)

UNKNOWN_TOOL = "unknown"
"""Stands in logs and metrics for a tool that there isn't: agents may call anything by any name."""

NO_ACCESS = "This session has no access to Discord: it has ended, or was never known. Go on without these tools."
_OTHER_VERSION = "Weft has been updated, and this session is older. The tools work again in a new session."
_NOT_UNDERSTOOD = "The call was not understood."
_FAULT = "Weft could not do this because of an internal error, which is in its log. Go on without it."

_CREDENTIALS = struct.Struct("3i")  # process, user, group; source: unix(7), SO_PEERCRED
# What peers may cause at any moment; none of it is news.
_LOST = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.DelimiterNotFound,
    OSError,
)


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Times in seconds.

    Attributes:
        calls: that a session may make in ``window``.
        at_once: calls of a session that are under way.
        waiting: connections that have not said yet what they want; one more closes the oldest.
        patience: how long a connection may take to say it, and to take its answer.
        pace: between two connections. It keeps whoever only connects from keeping the bot busy.
        retry: until the next try when no connection can be taken, since too many files are open.
    """

    calls: int = 20
    window: float = 60.0
    at_once: int = 8
    waiting: int = 64
    patience: float = 5.0
    pace: float = 0.005
    retry: float = 1.0


@dataclass(eq=False)
class ToolListener:
    """Serves calls at a socket.

    Args:
        find: gives what belongs to a token that a process shows, or None; in constant time.
        call: carries out a call for the session that was offered the tools, and returns what the model reads. It may
            raise `ToolRefused`. It is cancelled when the caller is gone, or the session has ended.
    """

    find: Callable[[str, int | None], Offer | None]
    call: Callable[[Offer, ToolArguments], Awaitable[str]]
    observer: Observer
    limits: ListenerLimits = ListenerLimits()
    _waiting: dict[anyio.CancelScope, None] = field(init=False, default_factory=dict)
    _running: Counter[int] = field(init=False, default_factory=Counter)
    _rate: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        # By thread and not by session, or a new session would be a new allowance.
        self._rate = RateLimit(self.limits.calls, self.limits.window)

    async def serve(self, path: Path, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take calls until cancelled.

        Raises:
            AddressUnusable: the socket can't be made.
        """
        with bound(UnixSocket(path)) as raw:
            raw.setblocking(False)
            async with await SocketListener.from_socket(raw) as listener, anyio.create_task_group() as connections:
                task_status.started()
                while True:
                    try:
                        stream = await listener.accept()
                    except anyio.BrokenResourceError as exc:
                        # The bot goes on without: the limit of open files is reached, and may not be any more soon.
                        log.warning("tools.not_accepting", error=str(exc.__cause__))
                        await anyio.sleep(self.limits.retry)
                        continue
                    connections.start_soon(self._converse, stream, name="tool call")
                    await anyio.sleep(self.limits.pace)

    async def _converse(self, stream: SocketStream) -> None:
        """Take one call and answer it; whatever the peer does ends here."""
        async with stream:
            try:
                await self._take(stream)
            except _LOST:
                return
            except Exception:
                # A fault of ours costs one call, and not the bot's other work.
                log.exception("tools.connection_failed")

    async def _take(self, stream: SocketStream) -> None:
        received = await self._received(stream)
        if isinstance(received, Answer):
            await self._send(stream, received)
        elif received is not None:
            offer, call = received
            thread = offer.thread_id
            assert thread is not None  # of a session that is still nobody's the token is not found
            tool = call.tool if call.tool in TOOLS else UNKNOWN_TOOL
            with _counted(self.observer, thread, tool) as report, self._one_of_its_calls(thread) as allowed:
                if allowed:
                    report.outcome, reply = await self._answered(offer, thread, call, stream)
                else:
                    text = f"{self.limits.at_once} calls are under way already: wait for one of them."
                    report.outcome, reply = "busy", answer(text, error=True)
                if reply is not None:
                    await self._send(stream, reply)

    async def _received(self, stream: SocketStream) -> tuple[Offer, Call] | Answer | None:
        """Return whose call it is and which; or the refusal, or None if nothing came in time."""
        with anyio.move_on_after(self.limits.patience) as scope, self._waiting_room(scope):
            pid, ours = _peer(stream)
            if not ours:
                return answer(NO_ACCESS, error=True)
            lines = BufferedByteReceiveStream(stream)
            # Bounded before it is read, and nothing else is looked at first: to whoever has no token, all the same.
            hello = _hello(await lines.receive_until(b"\n", HELLO_BYTES))
            offer = self.find(hello.token, pid) if hello is not None else None
            if hello is None or offer is None:
                # In the same words whatever is wrong, so that nobody learns anything of tokens by trying.
                return answer(NO_ACCESS, error=True)
            if hello.version != VERSION:
                return answer(_OTHER_VERSION, error=True)
            line = await lines.receive_until(b"\n", CALL_BYTES)
            try:
                return offer, Call.model_validate_json(line)
            except ValidationError:
                return answer(_NOT_UNDERSTOOD, error=True)
        return None

    @contextmanager
    def _waiting_room(self, scope: anyio.CancelScope) -> Iterator[None]:
        """Bound how many connections are waited for; one that is in the way of others is cancelled."""
        if len(self._waiting) >= self.limits.waiting:
            # The oldest, not the newest: who means it has sent everything at once and is through in a moment.
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        self._waiting[scope] = None
        try:
            yield
        finally:
            self._waiting.pop(scope, None)

    @contextmanager
    def _one_of_its_calls(self, thread: int) -> Iterator[bool]:
        """Hold one of the thread's places while the body runs; False: there is none."""
        if self._running[thread] >= self.limits.at_once:
            yield False
            return
        self._running[thread] += 1
        try:
            yield True
        finally:
            self._running[thread] -= 1
            if not self._running[thread]:
                del self._running[thread]

    async def _answered(self, offer: Offer, thread: int, call: Call, stream: SocketStream) -> tuple[str, Answer | None]:
        """Carry out a call while its caller and its session are there; return the outcome and what the model reads."""
        # Counted before it is validated: what is no call costs as much.
        now = anyio.current_time()
        if not self._rate.take(thread, now):
            wait = int(self._rate.wait(thread, now)) + 1
            text = f"Too many calls: at most {self.limits.calls} in {self.limits.window:.0f} s. Try again in {wait} s."
            return "limited", answer(text, error=True)
        try:
            arguments = validated(call.tool, call.arguments)
        except ToolRefused as exc:
            return "invalid", answer(str(exc), error=True)
        outcome: tuple[str, Answer | None] = "cancelled", None
        async with anyio.create_task_group() as tasks:
            # A person may take days to answer, so nothing here has a limit: only these two end a call.
            tasks.start_soon(_cancel_when_closed, stream, tasks.cancel_scope, name="caller")
            tasks.start_soon(_cancel_when_ended, offer, tasks.cancel_scope, name="session")
            outcome = await self._carried_out(offer, thread, arguments)
            tasks.cancel_scope.cancel()
        return outcome

    async def _carried_out(self, offer: Offer, thread: int, arguments: ToolArguments) -> tuple[str, Answer]:
        try:
            return "done", answer(await self.call(offer, arguments))
        except ToolRefused as exc:
            return "refused", answer(str(exc), error=True)
        except Exception:
            log.exception("tool.failed", tool=arguments.tool, thread=thread)
            return "failed", answer(_FAULT, error=True)

    async def _send(self, stream: SocketStream, reply: Answer) -> None:
        with anyio.move_on_after(self.limits.patience):  # a caller that does not read keeps nobody waiting
            await stream.send(reply.line())


@dataclass(slots=True)
class _Report:
    outcome: str = "cancelled"


@contextmanager
def _counted(observer: Observer, thread: int, tool: str) -> Iterator[_Report]:
    """Log and count a call when it is over, however that happens."""
    report, started = _Report(), anyio.current_time()
    try:
        yield report
    finally:
        observer.tool_called(tool, report.outcome)
        # An agent that goes on calling must not fill the log, too: what is one too many is counted only.
        write = log.debug if report.outcome in ("limited", "busy") else log.info
        seconds = round(anyio.current_time() - started, 3)
        write("tool.called", tool=tool, thread=thread, outcome=report.outcome, seconds=seconds)


async def _cancel_when_ended(offer: Offer, scope: anyio.CancelScope) -> None:
    await offer.ended.wait()
    scope.cancel()


async def _cancel_when_closed(stream: SocketStream, scope: anyio.CancelScope) -> None:
    """Cancel the call when its caller is gone, or says more than it may."""
    with suppress(*_LOST):
        await stream.receive(1)
    scope.cancel()


def _hello(line: bytes) -> Hello | None:
    try:
        return Hello.model_validate_json(line)
    except ValidationError:
        return None


def _peer(stream: SocketStream) -> tuple[int | None, bool]:
    """Return the peer's process, if that can be known, and whether it runs as our user.

    The directory is closed to others, but a sandbox may have opened it. One that maps its users (user namespaces) is
    no obstacle: the kernel tells who the peer is from here.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None, True  # on macOS the modes of directory and socket have to do
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  of anyio, not of Django
    packed = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _group = _CREDENTIALS.unpack(packed)
    # 0: it is in a namespace of processes that this one can't see into.
    return process or None, bool(user == os.geteuid())
