"""The streams of a container over one websocket: input, output, errors and a status, each frame with its channel.

With v5 the end of the input is a frame; with v4 only closing the websocket says it, and what the agent says after that
is lost. The mutable state is what is held of the output, and what was sent and heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import aiohttp
import anyio
import anyio.abc
import anyio.lowlevel
import orjson

from pool.engines.kubernetes.api import V5
from pool.engines.kubernetes.times import Times

STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
_CLOSE: Final = 255

_HELD = 256 * 1024
_FRAME = 32 * 1024
_UNREAD = 256 * 1024
_PING_EVERY = 64 * 1024
_STATUS_KEPT = 64 * 1024
_CLOSING = 2.0

_BROKEN = (aiohttp.ClientError, OSError, RuntimeError)
"""What a websocket that is closing or gone raises when it is written to."""


class HeldBytes(anyio.abc.ByteReceiveStream):
    """Output between the websocket and its reader; the one who feeds it waits while it is full."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._over = False
        self._news = anyio.Event()
        self._room = anyio.Event()

    async def feed(self, data: bytes) -> None:
        """Hold what was just said; waits for room before, and drops it once nobody reads any more."""
        # This wait holds up the connection's reader, and by that the server and the agent.
        while len(self._bytes) >= _HELD and not self._over:
            # No await between the look and the new event, or room that is made in between wakes nobody.
            self._room = anyio.Event()
            await self._room.wait()
        if not self._over:
            self._bytes += data
            self._news.set()

    def end(self) -> None:
        """Let the reader see the end after what is held."""
        self._over = True
        self._news.set()
        self._room.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while not self._bytes:
            if self._over:
                await anyio.lowlevel.checkpoint()
                raise anyio.EndOfStream
            self._news = anyio.Event()
            await self._news.wait()
        # Before the bytes are taken: a cancel after that would lose them.
        await anyio.lowlevel.checkpoint_if_cancelled()
        data = bytes(self._bytes[:max_bytes])
        del self._bytes[:max_bytes]
        self._room.set()
        return data

    async def aclose(self) -> None:
        self.end()
        await anyio.lowlevel.checkpoint()


class PodStream:
    """What goes over one websocket to a container; somebody runs `run` until the end.

    Attributes:
        stdout: held until somebody reads it, within bounds; its end is for the owner to say.
        heard: when something last came from the container, by anyio's clock.
        ended: set once nothing comes any more.
        status: what the server said of the end; None: it said nothing.
        lost: whether the connection gave no answer any more.
    """

    def __init__(
        self, websocket: aiohttp.ClientWebSocketResponse, on_stderr: Callable[[bytes], object], times: Times
    ) -> None:
        self.stdout = HeldBytes()
        self.ended = anyio.Event()
        self.status: dict[str, Any] | None = None
        self.lost = False
        self.heard = anyio.current_time()
        self._websocket = websocket
        self._on_stderr = on_stderr
        self._times = times
        self._status = bytearray()
        self._sending = anyio.Lock()
        self._sent = self._pinged = self._read = 0
        self._was_read = anyio.Event()
        self._answered = anyio.current_time()
        self._receiving = False
        self._input_over = False
        self._was_cut = False
        self._scope = anyio.CancelScope()

    @property
    def broken(self) -> bool:
        """Whether it ended with neither the server's word for it nor ours."""
        return self.ended.is_set() and self.status is None and (self.lost or not self._was_cut)

    @property
    def can_end_input(self) -> bool:
        """Whether the input can end and the output go on."""
        return self._websocket.protocol == V5

    def idle(self) -> float:
        """Return for how many seconds nothing has come; 0 while nobody reads what has."""
        return anyio.current_time() - self._answered if self._receiving else 0.0

    # --- from the container --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hand on what comes until the websocket is closed or gives no answer any more."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._stay_awake)
                    await self._receive()
                    tasks.cancel_scope.cancel()
        finally:
            if self._status:
                self.status = _status(bytes(self._status))
            self._input_over = True
            self.ended.set()
            # A sender that waits learns here that nobody will read.
            self._was_read.set()
            with anyio.move_on_after(_CLOSING, shield=True):
                await self._websocket.close()

    async def _receive(self) -> None:
        while True:
            # Silence counts only here: while the reader of the output is slow, nothing can be heard.
            self._answered, self._receiving = anyio.current_time(), True
            message = await self._websocket.receive()
            self._answered, self._receiving = anyio.current_time(), False
            if message.type is aiohttp.WSMsgType.BINARY:
                await self._take(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self._take_pong(message.data)
            elif message.type is aiohttp.WSMsgType.PING:
                await self._send(message.data, aiohttp.WSMsgType.PONG)
            elif message.type is not aiohttp.WSMsgType.TEXT:
                return  # closed, or broken: the API says which, if asked

    async def _take(self, frame: bytes) -> None:
        if len(frame) < 2:
            return  # the server's greeting is an empty frame
        channel, data = frame[0], frame[1:]
        if channel == STATUS:
            self._status += data[: _STATUS_KEPT - len(self._status)]
            return
        self.heard = anyio.current_time()
        if channel == STDOUT:
            await self.stdout.feed(data)
        elif channel == STDERR:
            self._on_stderr(data)

    def _take_pong(self, payload: bytes) -> None:
        # Frames are read in order: what was sent before this ping has been read, too.
        # The payload is ours, how much had been sent; from elsewhere it may be anything.
        if payload.isdigit():
            self._read = max(self._read, int(payload))
            self._was_read.set()

    async def _stay_awake(self) -> None:
        """Ask a silent connection whether it is there, and close it when it does not say."""
        spoken = anyio.current_time()
        while True:
            await anyio.sleep(self._times.ping)
            # While nobody reads our end, nothing can be heard. And while the agent does not read its input, the server
            # stands before it and answers no pings: that is another matter, for a while.
            patience = self._times.dead if self._read >= self._sent else self._times.stalled
            if self.idle() > patience:
                self.lost = True
                self.cut()
                return
            if self.idle() >= self._times.ping:
                await self._ping()
            if not self._input_over and anyio.current_time() - spoken > self._times.empty:
                spoken = anyio.current_time()
                await self._send(bytes([STDIN]))

    # --- to the container ----------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send input; waits while the far side does not read.

        Raises:
            anyio.BrokenResourceError: the connection has ended.
            anyio.ClosedResourceError: the input has.
        """
        async with self._sending:
            for start in range(0, len(data), _FRAME):
                if self._input_over:
                    raise anyio.ClosedResourceError
                frame = data[start : start + _FRAME]
                # Counted before, so that no ping says of what is on its way that it was read.
                self._sent += len(frame)
                if not await self._send(bytes([STDIN]) + frame):
                    raise anyio.BrokenResourceError
                if self._sent - self._pinged >= _PING_EVERY:
                    await self._ping()
                while self._sent - self._read > _UNREAD and not self.ended.is_set():
                    self._was_read = anyio.Event()
                    await self._was_read.wait()
            # Soon it is known that this was read, too: silence after that is the connection's, not the agent's.
            if self._sent > self._pinged:
                await self._ping()

    async def end_input(self) -> None:
        """Tell the container the end of its input; with v4 that ends all the rest, too."""
        if self._input_over or self.ended.is_set():
            return
        # Before it is sent: a sender that is in the middle of its frames stops at the next one.
        self._input_over = True
        if self.can_end_input:
            await self._send(bytes([_CLOSE, STDIN]))
        else:
            self.cut()

    def cut(self) -> None:
        """Have `run` end and close the websocket, whatever is on its way."""
        self._was_cut = True
        self._scope.cancel()

    async def _ping(self) -> None:
        self._pinged = self._sent
        await self._send(str(self._sent).encode(), aiohttp.WSMsgType.PING)

    async def _send(self, data: bytes, kind: aiohttp.WSMsgType = aiohttp.WSMsgType.BINARY) -> bool:
        if self.ended.is_set():
            return False
        try:
            await self._websocket.send_frame(data, kind)
        except _BROKEN:
            return False
        return True


def _status(data: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {"status": "Failure", "message": data.decode(errors="replace")[:500]}
    return said if isinstance(said, dict) else None


def exit_code(status: dict[str, Any] | None) -> int | None:
    """Return with which code a command ended, by the status channel; None: it does not say."""
    if status is None:
        return None
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdecimal():
            return int(cause["message"])
    return None
