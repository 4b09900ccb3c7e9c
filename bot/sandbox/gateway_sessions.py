"""What the gateway has of each client: a `Connection` is one websocket, a `Session` outlives it and can be resumed."""

import json
import socket
import struct
from collections import deque
from dataclasses import dataclass, field

import anyio
from aiohttp import ClientConnectionResetError, web
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from bot.sandbox.model import Intents, Json

EVENTS_KEPT = 10_000
FRAMES_WAITING = EVENTS_KEPT + 1_000
"""How many a connection may be behind: all that a RESUME brings, and more."""


@dataclass(frozen=True, slots=True)
class Close:
    """Tells a connection's writer to close it with a code."""

    code: int


@dataclass(slots=True, eq=False)
class Connection:
    """One websocket; frames leave it in the order they were pushed."""

    request: web.Request
    outbox: MemoryObjectSendStream[Json | Close]
    session: "Session | None" = None
    detached: bool = False
    of_person: bool = False

    def push(self, frame: Json | Close) -> None:
        """Queue a frame, unless the connection is ending; one that takes no more of them is reset."""
        try:
            self.outbox.send_nowait(frame)
        except anyio.WouldBlock:
            # A client that does not read would have all its frames held; it can come back and resume.
            self.drop()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def drop(self) -> None:
        """Reset the connection without a close frame."""
        reset(self.request)


@dataclass(slots=True, eq=False)
class Session:
    """What RESUME needs: the events by number, and the connection that is served now.

    `who` is its account; `seen` the places that a person's client knows, None while they are not in the guild.
    """

    id: str
    who: int
    intents: Intents
    connection: Connection | None = None
    sequence: int = 0
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    seen: frozenset[int] | None = None

    def send(self, name: str, data: Json) -> None:
        """Number an event, keep it, and send it where a connection is open."""
        # Numbered even while nobody is connected, or a RESUME would not bring it.
        self.sequence += 1
        frame = {"op": 0, "t": name, "s": self.sequence, "d": data}
        self.events.append(frame)
        if self.connection is not None:
            self.connection.push(frame)

    def has_all_since(self, sequence: object) -> bool:
        """Whether no event after that number was forgotten."""
        first_kept = self.events[0]["s"] if self.events else 1
        # The one before the first kept is enough: the client has it already.
        return isinstance(sequence, int) and sequence >= first_kept - 1

    def resume(self, connection: Connection, sequence: int) -> None:
        """Go on with another connection, from the event after that number."""
        self.connection = connection
        connection.session = self
        for frame in [one for one in self.events if one["s"] > sequence]:
            connection.push(frame)
        self.send("RESUMED", {"_trace": []})


def reset(request: web.BaseRequest) -> None:
    """Cut the TCP connection with a reset, as a dying peer does."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Linger of 0: closing then sends a reset, where it would otherwise end the connection in order.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def write_frames(ws: web.WebSocketResponse, frames: MemoryObjectReceiveStream[Json | Close]) -> None:
    """Send what is pushed until a close is, until nothing can be pushed any more, or until the connection is gone."""
    async with frames:
        async for frame in frames:
            if isinstance(frame, Close):
                await ws.close(code=frame.code)
                return
            try:
                await ws.send_str(json.dumps(frame))
            except ClientConnectionResetError:
                return
