"""A JSON-RPC peer on two byte streams: it pumps both, pairs responses with requests and hands on the rest.

Everything is handed on synchronously and in wire order, so that a response is known only after all that came before
it. The handler knows what the messages mean; the owner ends the process. The mutable state is the tables of open and of
abandoned requests, the outbox, how much noise is still borne, and the error that ended the peer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from itertools import count
from math import inf
from typing import Any, Protocol

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from acp.errors import AcpError, RequestFailed, RequestTimeout
from acp.jsonrpc import (
    INVALID_REQUEST,
    MAX_LINE,
    PARSE_ERROR,
    Line,
    LineDecoder,
    Loss,
    Message,
    Noise,
    Notification,
    Overlong,
    Request,
    RequestId,
    Response,
    RpcError,
    decode_message,
    encode_message,
    loss_of,
)

WRITE_TIMEOUT = 30.0
"""Seconds in which a peer has to take what is written to it."""

OUTBOX_LIMIT = 64 * 1024 * 1024
"""Bytes that may wait to be written; a peer for which more gathers does not read, however long it has."""

NOISE_LIMIT = 16 * 1024 * 1024
"""Bytes that a peer may write before its first message."""

MOST_ABANDONED = 32
"""Requests that nobody waits for any more, and whose answers are still taken if they come: the latest ones."""

# Lines that are handed on before others get a turn: an agent that writes without a pause must not stop the whole bot.
_LINES_PER_PASS = 256
_LAST_WORDS = 1.0
_READ_SIZE = 256 * 1024
_CLOSED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)

log = structlog.get_logger(__name__)


class PeerHandler(Protocol):
    """What a peer hands its messages to. All are called synchronously and must not raise: that ends the peer."""

    def on_request(self, request_id: RequestId, method: str, params: dict[str, Any], /) -> None:
        """Take a request; it has to be answered sooner or later."""

    def on_notification(self, method: str, params: dict[str, Any], /) -> None:
        """Take a notification."""

    def on_loss(self, loss: Loss, /) -> None:
        """Note that a message could not be read; one that answered a request fails that request instead."""


class PeerEnd(Enum):
    """Why a peer's pumps ended."""

    EOF = auto()
    """The other side closed its output."""
    BROKEN = auto()
    """The other side closed its input."""
    HUNG = auto()
    """The other side stopped reading."""
    NOISE = auto()
    """The other side wrote too much before its first message."""


class PendingRequest:
    """A request that was sent. `done` says whether it has been answered or given up."""

    def __init__(self, request_id: int, method: str, on_response: Callable[[PendingRequest], None] | None) -> None:
        self.id = request_id
        self.method = method
        self.result: Any = None
        self.error: AcpError | None = None
        self.done = False
        self._event = anyio.Event()
        self._on_response = on_response

    async def wait(self, timeout: float | None = None) -> Any:
        """Return the result; after a time-out the request stays open and may be waited for again.

        Raises:
            RequestFailed: the answer is an error, or was lost on the way.
            RequestTimeout: there was no answer within ``timeout`` seconds.
            AcpError: the peer ended; see `JsonRpcPeer.fail_all`.
        """
        with anyio.move_on_after(timeout):
            await self._event.wait()
        if not self.done:
            raise RequestTimeout(self.method, timeout or 0.0)
        if self.error is not None:
            raise self.error
        return self.result

    def resolve(self, result: Any = None, error: AcpError | None = None) -> None:
        """Take the answer and wake who waits; only the first counts."""
        if self.done:
            return
        self.done, self.result, self.error = True, result, error
        self._event.set()
        # In this very step, while who waits wakes up only later: it finds all done that follows from the answer.
        if self._on_response is not None:
            self._on_response(self)


class JsonRpcPeer:
    """Sends and receives JSON-RPC messages; works while `run` does."""

    def __init__(
        self,
        reader: anyio.abc.ByteReceiveStream,
        writer: anyio.abc.ByteSendStream,
        *,
        handler: PeerHandler,
        max_line: int = MAX_LINE,
        write_timeout: float = WRITE_TIMEOUT,
        outbox_limit: int = OUTBOX_LIMIT,
        noise_limit: int = NOISE_LIMIT,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._decoder = LineDecoder(max_line)
        self._write_timeout = write_timeout
        self._outbox_limit = outbox_limit
        self._noise_left: float = noise_limit
        self._ids = count(1)
        self._open: dict[int, PendingRequest] = {}
        self._abandoned: deque[PendingRequest] = deque()
        self._outbox = bytearray()
        self._outgoing = anyio.Event()
        self._overflow = anyio.Event()
        self._error: AcpError | None = None
        self._noisy = False
        self.dropped = 0
        """Lines that were no message, and responses that answered nothing."""

    async def run(self) -> PeerEnd:
        """Pump both streams until one of them ends; return why. Open requests stay open: see `fail_all`."""
        end: list[PeerEnd] = []
        async with anyio.create_task_group() as tasks:

            async def until_end(pump: Callable[[], Awaitable[PeerEnd]]) -> None:
                end.append(await pump())
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_end, self._read)
            tasks.start_soon(until_end, self._write)
            tasks.start_soon(until_end, self._watch_outbox)
        return end[0]

    # --- sending -------------------------------------------------------------------------------------------------

    def send(self, *messages: Message) -> None:
        """Queue messages for writing; those of one call are written together. After the end nothing is sent."""
        # Never waits, so that answers and cancels keep their order with what was decided; what gathers is bounded.
        if messages and self._error is None and len(self._outbox) <= self._outbox_limit:
            self._outbox += b"".join([encode_message(message) for message in messages])
            self._outgoing.set()
            if len(self._outbox) > self._outbox_limit:
                self._overflow.set()

    def respond_error(self, request_id: RequestId, code: int, message: str) -> None:
        """Answer a request with an error."""
        self.send(Response(request_id, error=RpcError(code, message)))

    def start_request(
        self, method: str, params: dict[str, Any], *, on_response: Callable[[PendingRequest], None] | None = None
    ) -> PendingRequest:
        """Send a request. ``on_response`` is called in wire order, before anything that follows the answer."""
        pending = PendingRequest(next(self._ids), method, on_response)
        # Open before it is sent, and after the end answered at once: nobody waits for what can't come.
        if self._error is not None:
            pending.resolve(error=self._error)
        else:
            self._open[pending.id] = pending
            self.send(Request(pending.id, method, params))
        return pending

    async def request(self, method: str, params: dict[str, Any], *, timeout: float | None) -> Any:
        """Send a request and return its result; a request that is not waited for any more is forgotten.

        Raises:
            RequestFailed, RequestTimeout, AcpError: as `PendingRequest.wait`.
        """
        pending = self.start_request(method, params)
        try:
            return await pending.wait(timeout)
        finally:
            self.forget(pending)

    def abandon(self, pending: PendingRequest) -> None:
        """Wait no longer for the answer to a request; it is still taken if it comes before many others are abandoned.

        An agent that never answers must not fill memory: whoever gives up on a request of `start_request` says so.
        """
        self._abandoned.append(pending)
        while len(self._abandoned) > MOST_ABANDONED:
            self.forget(self._abandoned.popleft())

    def forget(self, pending: PendingRequest) -> None:
        """Take no answer to a request any more."""
        self._open.pop(pending.id, None)

    def fail_all(self, error: AcpError) -> None:
        """End the peer: everyone who waits for an answer, now or later, gets ``error``; only the first call counts."""
        if self._error is not None:
            return
        self._error = error
        # Taken out first: who is woken may send something, which must fail and not wait in the table.
        waiting, self._open = list(self._open.values()), {}
        for pending in waiting:
            pending.resolve(error=error)

    async def _write(self) -> PeerEnd:
        while True:
            await self._outgoing.wait()
            # No await in these lines: what is queued from here on sets the new event.
            self._outgoing = anyio.Event()
            batch, self._outbox = bytes(self._outbox), bytearray()
            # The whole batch at once and with a limit: an agent that stops reading must not hold up who stops it.
            with anyio.move_on_after(self._write_timeout) as limit:
                try:
                    await self._writer.send(batch)
                except _CLOSED:
                    break
            if limit.cancelled_caught:
                return PeerEnd.HUNG
        await anyio.sleep(_LAST_WORDS)  # a dying process breaks this pipe first; what it said is still in the other
        return PeerEnd.BROKEN

    async def _watch_outbox(self) -> PeerEnd:
        await self._overflow.wait()
        return PeerEnd.HUNG

    # --- receiving -----------------------------------------------------------------------------------------------

    async def _read(self) -> PeerEnd:
        while True:
            closed = False
            try:
                lines = self._decoder.feed(await self._reader.receive(_READ_SIZE))
            except _CLOSED:
                lines, closed = self._decoder.end(), True
            for number, line in enumerate(lines, 1):
                self._take(line)
                if number % _LINES_PER_PASS == 0:
                    await anyio.lowlevel.checkpoint()  # a full buffer is read without ever giving way
            if closed:
                return PeerEnd.EOF
            if self._noise_left < 0:
                return PeerEnd.NOISE

    def _take(self, line: Line) -> None:
        message = line if isinstance(line, Overlong) else decode_message(line)
        if isinstance(message, Noise | Overlong):
            self._drop(message, line)
            return
        self._noise_left = inf  # who has spoken the protocol once may be noisy for ever
        if isinstance(message, Notification):
            self._handler.on_notification(message.method, message.params)
            return
        if isinstance(message, Request):
            self._handler.on_request(message.id, message.method, message.params)
            return
        # Typed exactly: ``true`` and ``1.0`` would find the request 1 in the table.
        pending = self._open.pop(message.id, None) if type(message.id) is int else None
        if pending is None:
            self.dropped += 1
        elif message.error is None:
            pending.resolve(message.result)
        else:
            error = message.error
            pending.resolve(error=RequestFailed(pending.method, error.code, error.message, error.data))

    def _drop(self, found: Noise | Overlong, line: Line) -> None:
        """Count what cannot be used; what waits for an answer gets one: our request, or the agent's."""
        size = line.size if isinstance(line, Overlong) else len(line)
        self.dropped += 1
        self._noise_left -= size
        if not self._noisy:  # once for each process: an agent that logs to its stdout does so all day
            self._noisy = True
            log.warning("agent.noise_dropped", size=size)
        # 1. The broken answer to a request of ours, else a message that its session misses.
        pending = self._open.pop(found.response_id, None) if found.response_id is not None else None
        if pending is None:
            if (loss := loss_of(line)) is not None:
                self._handler.on_loss(loss)
        else:
            why = "too long" if isinstance(found, Overlong) else "not valid JSON"
            text = f"the answer was {why} ({size} bytes)"
            pending.resolve(error=RequestFailed(pending.method, PARSE_ERROR, text))
        # 2. A request of the agent's: it waits for an answer, and with it the turn.
        if found.request is not None:
            why = "the id of a request is a string or an integer"
            if isinstance(found, Overlong):
                why = f"the request is too long: {size} bytes of at most {self._decoder.max_line}"
            self.respond_error(found.request.id, INVALID_REQUEST, why)
