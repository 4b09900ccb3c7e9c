"""The gateway: HELLO, IDENTIFY, RESUME with replay, heartbeats, dispatch by intents, and the faults of a gateway.

A `Connection` is one websocket, a `Session` outlives it; an aiohttp handler runs one connection each. What an event
says is decided elsewhere. The mutable state is the sessions (each with its numbered events), the open connections, and
the fault switches.
"""

import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
from aiohttp import ClientConnectionResetError, WSMsgType, web
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from bot.sandbox import objects
from bot.sandbox.model import KNOWN_INTENTS, PRIVILEGED_INTENTS, Event, Intents, Json
from bot.sandbox.state import State

HEARTBEAT_SECONDS = 41.25
SESSIONS_KEPT = 16
CLOSE_WAIT_SECONDS = 0.5
ABNORMAL_CLOSURE = 1006
MAX_FRAME = 4096

UNKNOWN_ERROR, UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, AUTHENTICATION_FAILED = 4000, 4001, 4002, 4003, 4004
ALREADY_AUTHENTICATED, INVALID_INTENTS, DISALLOWED_INTENTS = 4005, 4013, 4014

EVENTS_KEPT = 10_000


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

    def push(self, frame: Json | Close) -> None:
        """Queue a frame, unless the connection is ending."""
        try:
            self.outbox.send_nowait(frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def drop(self) -> None:
        """Reset the connection without a close frame."""
        reset(self.request)


@dataclass(slots=True, eq=False)
class Session:
    """What RESUME needs: the events by number, and the connection that is served now."""

    id: str
    intents: Intents
    connection: Connection | None = None
    sequence: int = 0
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))

    def send(self, name: str, data: Json) -> None:
        """Number an event, keep it, and send it where a connection is open."""
        self.sequence += 1
        frame = {"op": 0, "t": name, "s": self.sequence, "d": data}
        self.events.append(frame)
        if self.connection is not None:
            self.connection.push(frame)


def reset(request: web.BaseRequest) -> None:
    """Cut the TCP connection with a reset, as a dying peer does."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
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


class Gateway:
    """All sessions of the one bot; see the switches in `__init__` for what a test can make it do."""

    def __init__(self, state: State, token: str) -> None:
        self._state = state
        self._token = token
        self.url = ""
        self.granted_intents: int = KNOWN_INTENTS & ~int(Intents.GUILD_MEMBERS | Intents.GUILD_PRESENCES)
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        self.refuse_resume = False
        self.silent = False
        self.duplicate_next = 0
        self.refuse_connections = 0
        self.hold_back: set[str] = set()
        self.identifies = 0
        self.resumes = 0
        self.close_codes: list[int] = []
        self.ready = anyio.Event()
        self.sessions: dict[str, Session] = {}
        self._connections: list[Connection] = []
        self._held: list[Event] = []
        self._out = False
        self._losing = False

    # -- what tests and the demo ask for ---------------------------------------------------------------------------

    async def close(self, code: int = 1000) -> None:
        """Close every connection with a code."""
        for connection in list(self._connections):
            connection.push(Close(code))
            self._detach(connection)

    async def reconnect(self) -> None:
        """Ask every client to reconnect and resume (op 7)."""
        self._broadcast({"op": 7, "d": None}, detach=True)

    async def invalidate(self, *, resumable: bool = False) -> None:
        """Tell every client that its session is invalid (op 9)."""
        if not resumable:
            self.sessions.clear()
        self._broadcast({"op": 9, "d": resumable}, detach=True)

    async def request_heartbeat(self) -> None:
        """Ask every client to beat at once (op 1)."""
        self._broadcast({"op": 1, "d": None})

    async def dispatch_raw(self, name: str, data: Json) -> None:
        """Send an event exactly as given to every session."""
        for session in list(self.sessions.values()):
            session.send(name, data)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Reset all connections and refuse new ones until left; events are kept for RESUME."""
        self._out = True
        for connection in list(self._connections):
            connection.drop()
            self._detach(connection)
        try:
            yield
        finally:
            self._out = False

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Lose every event until left: nobody gets it, and no RESUME brings it back."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False

    async def shut_down(self) -> None:
        """Close every connection for good and take no new one."""
        self._out = True
        await self.close(1001)
        with anyio.move_on_after(CLOSE_WAIT_SECONDS):
            while self._connections:
                await self._state.changes.wait()
        for connection in list(self._connections):
            connection.drop()

    @property
    def connected(self) -> bool:
        """Whether a client holds a session on an open connection."""
        return any(one.session is not None for one in self._connections)

    def _broadcast(self, frame: Json, *, detach: bool = False) -> None:
        for connection in list(self._connections):
            connection.push(frame)
            if detach:
                self._detach(connection)

    # -- dispatch --------------------------------------------------------------------------------------------------

    def dispatch(self, event: Event) -> None:
        """Send an event to the sessions whose intents cover it; `hold_back` names wait for the next MESSAGE_CREATE."""
        if self._losing or self._state.removed:
            return
        if event.name in self.hold_back:
            self._held.append(event)
            return
        takers = [one for one in self.sessions.values() if not event.intent or one.intents & event.intent]
        copies = 2 if takers and self.duplicate_next > 0 else 1
        self.duplicate_next -= copies - 1
        for session in takers * copies:
            hidden = event.masked is not None and not session.intents & Intents.MESSAGE_CONTENT
            session.send(event.name, event.masked if hidden and event.masked is not None else event.data)
        if event.name == "MESSAGE_CREATE":
            self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for event in held:
            for session in self.sessions.values():
                if session.intents & event.intent:
                    session.send(event.name, event.data)

    # -- one connection --------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket until either side ends it."""
        if self._out or self.refuse_connections > 0:
            self.refuse_connections = max(0, self.refuse_connections - 1)
            return web.Response(status=503)
        ws = web.WebSocketResponse(timeout=CLOSE_WAIT_SECONDS, max_msg_size=1 << 20)
        await ws.prepare(request)
        send, receive = anyio.create_memory_object_stream[Json | Close](float("inf"))
        connection = Connection(request, send)
        self._connections.append(connection)
        connection.push({"op": 10, "d": {"heartbeat_interval": int(self.heartbeat_seconds * 1000)}})
        close_code = ABNORMAL_CLOSURE
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write_frames, ws, receive)
                async with send:
                    close_code = await self._read_frames(ws, connection)
                # The writer ends by itself, as nothing can be pushed any more; it may still be closing the connection.
        finally:
            self._forget(connection, close_code)
        return ws

    async def _read_frames(self, ws: web.WebSocketResponse, connection: Connection) -> int:
        """Handle frames until the end, and return the code that the client closed with, or 1006."""
        while True:
            message = await ws.receive()
            if message.type is WSMsgType.CLOSE:
                return int(message.data or ABNORMAL_CLOSURE)
            if message.type in (WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return ABNORMAL_CLOSURE
            if message.type is not WSMsgType.TEXT or len(message.data) > MAX_FRAME:
                connection.push(Close(DECODE_ERROR))
                continue
            try:
                frame = json.loads(message.data)
            except ValueError:
                frame = None
            if isinstance(frame, dict):
                self._handle_frame(connection, frame)
            else:
                connection.push(Close(DECODE_ERROR))

    def _handle_frame(self, connection: Connection, frame: Json) -> None:
        op, data = frame.get("op"), frame.get("d")
        if op == 1:
            if not self.silent:
                connection.push({"op": 11})
        elif connection.detached:
            return
        elif op in (2, 6) and isinstance(data, dict):
            self._authenticate(connection, data, resume=op == 6)
        elif connection.session is None:
            connection.push(Close(NOT_AUTHENTICATED))
        elif op == 8 and isinstance(data, dict):
            self._send_members(connection.session, data)
        elif op not in (3, 4):
            connection.push(Close(UNKNOWN_OPCODE))

    def _authenticate(self, connection: Connection, data: Json, *, resume: bool) -> None:
        # Some libraries send the token here as REST wants it; Discord takes both.
        if str(data.get("token")).removeprefix("Bot ") != self._token:
            connection.push(Close(AUTHENTICATION_FAILED))
        elif connection.session is not None:
            connection.push(Close(ALREADY_AUTHENTICATED))
        elif resume:
            self._resume(connection, data)
        else:
            self._identify(connection, data)

    def _identify(self, connection: Connection, data: Json) -> None:
        intents = data.get("intents")
        if not isinstance(intents, int) or intents & ~KNOWN_INTENTS:
            connection.push(Close(INVALID_INTENTS))
            return
        if intents & ~self.granted_intents & int(PRIVILEGED_INTENTS):
            connection.push(Close(DISALLOWED_INTENTS))
            return
        self.identifies += 1
        session = Session(f"session-{self._state.ids()}", Intents(intents), connection)
        self._remember(session)
        connection.session = session
        session.send("READY", self._ready_json(session, data.get("shard")))
        if session.intents & Intents.GUILDS:
            members = bool(session.intents & Intents.GUILD_MEMBERS)
            session.send("GUILD_CREATE", objects.guild_event_json(self._state, all_members=members))
        self._note_ready()

    def _remember(self, session: Session) -> None:
        idle = [key for key, one in self.sessions.items() if one.connection is None]
        for key in idle[: max(0, len(self.sessions) + 1 - SESSIONS_KEPT)]:
            del self.sessions[key]
        self.sessions[session.id] = session

    def _ready_json(self, session: Session, shard: object) -> Json:
        state = self._state
        shape: Json = {
            "v": 10,
            "user": objects.own_user_json(state.bot),
            "guilds": [{"id": str(state.guild_id), "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "session_type": "normal",
            "private_channels": [],
            "application": {"id": str(state.application_id), "flags": objects.application_json(state)["flags"]},
        }
        return {**shape, "shard": shard} if shard is not None else shape

    def _resume(self, connection: Connection, data: Json) -> None:
        session = self.sessions.get(str(data.get("session_id")))
        sequence = data.get("seq")
        first_kept = session.events[0]["s"] if session is not None and session.events else 1
        if self.refuse_resume or session is None or not isinstance(sequence, int) or sequence < first_kept - 1:
            connection.push({"op": 9, "d": False})
            return
        self.resumes += 1
        if session.connection is not None:
            session.connection.drop()
            self._detach(session.connection)
        session.connection = connection
        connection.session = session
        for frame in [one for one in session.events if one["s"] > sequence]:
            connection.push(frame)
        session.send("RESUMED", {"_trace": []})
        self._note_ready()

    def _send_members(self, session: Session, data: Json) -> None:
        """Answer op 8: members by ids, or all of them by an empty query."""
        wanted = data.get("user_ids")
        ids = {int(one) for one in ([wanted] if isinstance(wanted, str | int) else wanted or [])}
        people = [one for key, one in self._state.members.items() if not ids or key in ids]
        chunk: Json = {
            "guild_id": str(self._state.guild_id),
            "members": [objects.member_json(one) for one in people],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(one) for one in ids - self._state.members.keys()],
        }
        session.send("GUILD_MEMBERS_CHUNK", {**chunk, "nonce": data["nonce"]} if "nonce" in data else chunk)

    def _note_ready(self) -> None:
        self.ready.set()
        self._state.changes.note()

    def _detach(self, connection: Connection) -> None:
        """Take the session off a connection that is ending, so that the session can be resumed on another one."""
        session, connection.session = connection.session, None
        connection.detached = True
        if session is not None:
            session.connection = None
        if not self.connected and self.ready.is_set():
            self.ready = anyio.Event()
            self._state.changes.note()

    def _forget(self, connection: Connection, close_code: int) -> None:
        """End a connection; a client that closed with 1000 or 1001 gives its session up."""
        self._connections.remove(connection)
        self.close_codes.append(close_code)
        if connection.session is not None and close_code in (1000, 1001):
            self.sessions.pop(connection.session.id, None)
        self._detach(connection)
        self._state.changes.note()
